#include "ltx/sqlite/wal_index.h"

#include <cstring>

namespace runnel::sqlite {

void WalChecksum(bool big_endian, Bytes bytes, uint32_t checksum[2]) {
  uint32_t s1 = checksum[0];
  uint32_t s2 = checksum[1];
  const std::byte* p = bytes.data();
  const std::byte* end = p + (bytes.size() & ~size_t{7});
  if (big_endian) {
    for (; p < end; p += 8) {
      s1 += LoadBe32(p) + s2;
      s2 += LoadBe32(p + 4) + s1;
    }
  } else {
    for (; p < end; p += 8) {
      uint32_t word[2];
      std::memcpy(word, p, sizeof word);
      s1 += word[0] + s2;
      s2 += word[1] + s1;
    }
  }
  checksum[0] = s1;
  checksum[1] = s2;
}

void ComputeHeaderChecksum(const WalIndexHeader& header, uint32_t out[2]) {
  out[0] = 0;
  out[1] = 0;
  Bytes bytes(reinterpret_cast<const std::byte*>(&header), offsetof(WalIndexHeader, header_checksum));
  WalChecksum(false, bytes, out);
}

bool IsValid(const WalIndexHeader& header) {
  uint32_t sum[2];
  ComputeHeaderChecksum(header, sum);
  return header.is_init != 0 && sum[0] == header.header_checksum[0] && sum[1] == header.header_checksum[1];
}

}  // namespace runnel::sqlite
