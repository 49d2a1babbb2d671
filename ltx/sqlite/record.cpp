#include "ltx/sqlite/record.h"

#include <bit>
#include <cstring>

#include "ltx/sqlite/varint.h"

namespace runnel::sqlite {
namespace {

Error Refuse(const char* what) { return Error(Errc::kCorrupt, what); }

int64_t SignedBe(Bytes bytes) {
  int64_t value = static_cast<int8_t>(std::to_integer<uint8_t>(bytes[0]));
  for (size_t i = 1; i < bytes.size(); ++i) {
    value = static_cast<int64_t>(static_cast<uint64_t>(value) << 8 | std::to_integer<uint64_t>(bytes[i]));
  }
  return value;
}

uint64_t BytesOf(uint64_t serial_type) {
  constexpr uint8_t kBytes[] = {0, 1, 2, 3, 4, 6, 8, 8, 0, 0};
  return serial_type < 10 ? kBytes[serial_type] : (serial_type - 12) / 2;
}

Value ValueOf(uint64_t serial_type, Bytes bytes) {
  if (serial_type == 0) return Value();
  if (serial_type == 8 || serial_type == 9) return Value::Integer(static_cast<int64_t>(serial_type - 8));
  if (serial_type < 7) return Value::Integer(SignedBe(bytes));
  if (serial_type == 7) {
    double real = std::bit_cast<double>(LoadBe64(bytes.data()));
    return real == real ? Value::Real(real) : Value();  // SQLite reads a NaN as NULL
  }
  return Value{(serial_type & 1) != 0 ? ValueType::kText : ValueType::kBlob, 0, 0, bytes};
}

void AppendUtf8(std::string& out, uint32_t c) {
  if (c < 0x80) {
    out += static_cast<char>(c);
    return;
  }
  if (c < 0x800) {
    out += static_cast<char>(0xc0 | c >> 6);
  } else if (c < 0x10000) {
    out += static_cast<char>(0xe0 | c >> 12);
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | c >> 18);
    out += static_cast<char>(0x80 | (c >> 12 & 0x3f));
    out += static_cast<char>(0x80 | (c >> 6 & 0x3f));
  }
  out += static_cast<char>(0x80 | (c & 0x3f));
}

}  // namespace

bool Same(const Value& a, const Value& b) {
  if (a.type != b.type) return false;
  switch (a.type) {
    case ValueType::kNull: return true;
    case ValueType::kInteger: return a.integer == b.integer;
    case ValueType::kReal: return std::bit_cast<uint64_t>(a.real) == std::bit_cast<uint64_t>(b.real);
    case ValueType::kText:
    case ValueType::kBlob: break;
  }
  return AsText(a.bytes) == AsText(b.bytes);
}

Status DecodeRecord(Bytes payload, std::vector<Value>& out) {
  out.clear();
  Varint header_bytes = ReadVarint(payload);
  if (header_bytes.bytes == 0 || header_bytes.value > payload.size() || header_bytes.value < header_bytes.bytes) {
    return Refuse("a record whose header does not fit");
  }
  Bytes header = payload.first(header_bytes.value).subspan(header_bytes.bytes);
  Bytes body = payload.subspan(header_bytes.value);
  while (!header.empty()) {
    Varint type = ReadVarint(header);
    if (type.bytes == 0) return Refuse("a record whose header does not fit");
    if (type.value == 10 || type.value == 11) return Refuse("a record with a reserved serial type");
    header = header.subspan(type.bytes);
    uint64_t size = BytesOf(type.value);
    if (size > body.size()) return Refuse("a record that runs past its payload");
    out.push_back(ValueOf(type.value, body.first(size)));
    body = body.subspan(size);
  }
  if (!body.empty()) return Refuse("a record shorter than its payload");
  return Ok();
}

std::string ToUtf8(Bytes text, TextEncoding encoding) {
  if (encoding == TextEncoding::kUtf8) return std::string(AsText(text));
  size_t low = encoding == TextEncoding::kUtf16le ? 0 : 1;
  auto unit = [&](size_t i) {
    return std::to_integer<uint32_t>(text[i + low]) | std::to_integer<uint32_t>(text[i + 1 - low]) << 8;
  };
  std::string out;
  out.reserve(text.size());
  size_t size = text.size() & ~size_t{1};
  for (size_t i = 0; i < size;) {
    uint32_t c = unit(i);
    i += 2;
    if (c >= 0xd800 && c < 0xe000 && i < size) {
      uint32_t c2 = unit(i);
      i += 2;
      c = (c2 & 0x3ff) + ((c & 0x3f) << 10) + (((c & 0x3c0) + 0x40) << 10);
    }
    AppendUtf8(out, c);
  }
  return out;
}

}  // namespace runnel::sqlite
