// CRC-64/GO-ISO (Go's crc64.ISO: reflected polynomial 0xD800000000000000, init and final xor all ones; check value of
// "123456789" is b90956c775a41001), computed by ISA-L, and the page checksum built on it (FORMAT.md).
#pragma once

#include <cstdint>

#include "ltx/base/bytes.h"
#include "ltx/format/types.h"

namespace runnel::ltx {

// A running CRC over any number of pieces.
class Crc64 {
 public:
  void Update(Bytes bytes);
  uint64_t value() const { return value_; }

 private:
  uint64_t value_ = 0;
};

// Checksum of one page: CRC-64 over its number (big-endian u32) and its bytes, bit 63 set.
Checksum PageChecksum(Pgno pgno, Bytes page);

}  // namespace runnel::ltx
