// Records: the payload of a cell as a list of values (SQLite file format, section 2.1).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/sqlite/db_header.h"

namespace runnel::sqlite {

enum class ValueType : uint8_t { kNull, kInteger, kReal, kText, kBlob };

// One value, borrowed. Text is raw bytes in the database's encoding, which need not be well-formed.
struct Value {
  ValueType type = ValueType::kNull;
  int64_t integer = 0;
  double real = 0;
  Bytes bytes;

  static Value Integer(int64_t v) { return Value{ValueType::kInteger, v, 0, Bytes()}; }
  static Value Real(double v) { return Value{ValueType::kReal, 0, v, Bytes()}; }
};

// Same type and same content; reals bit by bit, texts byte by byte.
bool Same(const Value& a, const Value& b);

// A value with its bytes.
struct OwnedValue {
  ValueType type = ValueType::kNull;
  int64_t integer = 0;
  double real = 0;
  std::string bytes;

  // LIFETIME: this object, unchanged.
  Value View() const { return Value{type, integer, real, AsBytes(bytes)}; }
};

// All fields of a record, into `out`. Errors: kCorrupt (reserved serial types, a header or values that do not fit
// exactly).
Status DecodeRecord(Bytes payload, std::vector<Value>& out);

// Text as UTF-8 the way SQLite converts it: lone surrogates are combined with what follows, an odd last byte is
// dropped. UTF-8 is passed on as it is, well-formed or not.
std::string ToUtf8(Bytes text, TextEncoding encoding);

}  // namespace runnel::sqlite
