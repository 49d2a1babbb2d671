#include "ltx/sqlite/wal_format.h"

#include <cstring>

#include "ltx/format/types.h"

namespace runnel::sqlite {

std::optional<WalHeader> ParseWalHeader(Bytes bytes) {
  if (bytes.size() < kWalHeaderBytes) return std::nullopt;
  uint32_t magic = LoadBe32(bytes.data());
  if ((magic & ~1u) != kWalMagic || LoadBe32(bytes.data() + 4) != kWalVersion) return std::nullopt;
  WalHeader header;
  header.big_endian_checksum = (magic & 1u) != 0;
  header.page_size = LoadBe32(bytes.data() + 8);
  header.sequence = LoadBe32(bytes.data() + 12);
  if (!PageSize::IsValid(header.page_size)) return std::nullopt;
  std::memcpy(header.salt, bytes.data() + 16, sizeof header.salt);
  WalChecksum(header.big_endian_checksum, bytes.first(24), header.checksum);
  if (header.checksum[0] != LoadBe32(bytes.data() + 24) || header.checksum[1] != LoadBe32(bytes.data() + 28)) {
    return std::nullopt;
  }
  return header;
}

void EncodeWalHeader(const WalHeader& header, std::byte out[kWalHeaderBytes]) {
  StoreBe32(out, kWalMagic);
  StoreBe32(out + 4, kWalVersion);
  StoreBe32(out + 8, header.page_size);
  StoreBe32(out + 12, header.sequence);
  std::memcpy(out + 16, header.salt, sizeof header.salt);
  uint32_t checksum[2] = {0, 0};
  WalChecksum(false, Bytes(out, 24), checksum);
  StoreBe32(out + 24, checksum[0]);
  StoreBe32(out + 28, checksum[1]);
}

FrameHeader ParseFrameHeader(Bytes bytes) {
  FrameHeader frame;
  frame.pgno = LoadBe32(bytes.data());
  frame.commit_pages = LoadBe32(bytes.data() + 4);
  std::memcpy(frame.salt, bytes.data() + 8, sizeof frame.salt);
  frame.checksum[0] = LoadBe32(bytes.data() + 16);
  frame.checksum[1] = LoadBe32(bytes.data() + 20);
  return frame;
}

void AddFrame(bool big_endian, Bytes first8, Bytes page, uint32_t checksum[2]) {
  WalChecksum(big_endian, first8.first(8), checksum);
  WalChecksum(big_endian, page, checksum);
}

}  // namespace runnel::sqlite
