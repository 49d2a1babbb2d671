// The 100 bytes at the start of page 1 (SQLite file format, section 1.3), as far as pages need them to be read.
//
//   offset  bytes  what
//        0     16  "SQLite format 3\0"
//       16      2  page size, 1 means 65536
//       20      1  reserved bytes at the end of each page
//       21      3  payload fractions: 64, 32, 32
//       24      4  change counter
//       28      4  page count (not always kept)
//       40      4  schema cookie
//       44      4  schema format 1..4, 0 before the first table
//       52      4  largest root page: not 0 in auto_vacuum modes
//       56      4  text encoding 1..3, 0 before the first table
//       64      4  incremental vacuum
#pragma once

#include <cstdint>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::sqlite {

inline constexpr size_t kDbHeaderBytes = 100;

// Fixed on disk.
enum class TextEncoding : uint8_t { kUtf8 = 1, kUtf16le = 2, kUtf16be = 3 };

struct DbHeader {
  PageSize page_size;
  uint32_t reserved_bytes = 0;
  uint32_t page_count = 0;
  uint32_t schema_cookie = 0;
  TextEncoding encoding = TextEncoding::kUtf8;
  bool auto_vacuum = false;
  bool incremental_vacuum = false;
};

// Rises with every commit that writes page 1. REQUIRES: page1 holds the header.
inline uint32_t ChangeCounterOf(Bytes page1) { return LoadBe32(page1.data() + 24); }

// Errors: kCorrupt (not a SQLite database, or values no database has).
Result<DbHeader> ParseDbHeader(Bytes page1);

}  // namespace runnel::sqlite
