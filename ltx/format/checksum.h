// CRC-64/GO-ISO (Go's crc64.ISO: reflected polynomial 0xD800000000000000, init and final xor all ones; check value of
// "123456789" is b90956c775a41001), computed by ISA-L, and the page checksum built on it (FORMAT.md).
#pragma once

#include <cstdint>
#include <vector>

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

// The CRC of first and second piece together, from the CRCs of each: pieces can be summed up by different threads.
uint64_t JoinCrc64(uint64_t first, uint64_t second, uint64_t second_bytes);

// The same for many second pieces of one length, at about 50 ns each.
class Crc64Joiner {
 public:
  explicit Crc64Joiner(uint64_t second_bytes);
  uint64_t Join(uint64_t first, uint64_t second) const;

 private:
  uint64_t shift_;  // x to the power of the second piece's bits, modulo the polynomial
};

// Checksum of one page: CRC-64 over its number (big-endian u32) and its bytes, bit 63 set.
Checksum PageChecksum(Pgno pgno, Bytes page);

// What toggling an old version of a page out of a rolling checksum and a new one in amounts to, from the bytes that
// differ alone: a CRC is linear, so the sums of both versions differ by that of their difference, moved up by the bytes
// behind it. Exact for any bytes, wrong ones too: toggled into a sum that was not made of `before`, it gives what
// PageChecksum of both gives.
class PageChange {
 public:
  explicit PageChange(PageSize page_size);

  // REQUIRES: two versions of one page, equal but for the bytes from `begin` to `end`.
  Checksum Of(Bytes before, Bytes after, size_t begin, size_t end) const;

 private:
  std::vector<Crc64Joiner> behind_;  // [i]: with i steps behind the difference
};

}  // namespace runnel::ltx
