// The WAL file as bytes: 32-byte header, then frames of 24 bytes and a page (SQLite file format, section 4).
#pragma once

#include <cstdint>
#include <optional>

#include "ltx/base/bytes.h"
#include "ltx/sqlite/wal_index.h"

namespace runnel::sqlite {

inline constexpr size_t kWalHeaderBytes = 32;
inline constexpr size_t kFrameHeaderBytes = 24;
inline constexpr uint32_t kWalMagic = 0x377f0682;  // last bit set: checksum words are big-endian
inline constexpr uint32_t kWalVersion = 3007000;

// Byte offset of a frame (from 1) in the file.
constexpr uint64_t FrameOffset(uint32_t frame, uint32_t page_size) {
  return kWalHeaderBytes + uint64_t{frame - 1} * (kFrameHeaderBytes + page_size);
}

struct WalHeader {
  bool big_endian_checksum = false;
  uint32_t page_size = 0;
  uint32_t sequence = 0;
  uint32_t salt[2] = {0, 0};      // raw bytes, as in WalIndexHeader::salt
  uint32_t checksum[2] = {0, 0};  // seed of the frames' running checksum
};

// nullopt: not a WAL header, wrong version, or its checksum is wrong.
std::optional<WalHeader> ParseWalHeader(Bytes bytes);
// 32 bytes; computes the checksum with little-endian words (header.checksum is ignored).
void EncodeWalHeader(const WalHeader& header, std::byte out[kWalHeaderBytes]);

struct FrameHeader {
  uint32_t pgno = 0;
  uint32_t commit_pages = 0;      // database size after the commit, 0 on frames that do not end one
  uint32_t salt[2] = {0, 0};      // raw bytes
  uint32_t checksum[2] = {0, 0};  // running, behind this frame
};
FrameHeader ParseFrameHeader(Bytes bytes);  // REQUIRES: bytes.size() >= kFrameHeaderBytes

// Adds one frame (its first 8 header bytes and its page) to a running checksum.
void AddFrame(bool big_endian, Bytes first8, Bytes page, uint32_t checksum[2]);

}  // namespace runnel::sqlite
