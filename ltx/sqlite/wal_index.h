// The wal-index ("-shm" file) as bytes: layout of SQLite's wal.c (WalIndexHdr, WalCkptInfo, hash tables), version
// 3007000. Host byte order. Only the layout and pure functions; the live mapping is ltx/sqlite/live/live_db.h.
//
//   offset   bytes  what
//        0      48  header, first copy  (writers store copy 1, barrier, copy 0; readers compare both)
//       48      48  header, second copy
//       96       4  nBackfill: frames copied back into the database
//      100      20  read marks 0..4
//      120       8  lock bytes: WRITE, CKPT, RECOVER, READ0..READ4
//      128       4  nBackfillAttempted
//      132       4  unused
//      136          block 0: 4062 page numbers, then at 16384 the 8192 u16 slots; later blocks: 4096 page numbers and
//      slots
#pragma once

#include <cstddef>
#include <cstdint>

#include "ltx/base/bytes.h"

namespace runnel::sqlite {

inline constexpr uint32_t kWalIndexVersion = 3007000;
inline constexpr size_t kWalIndexBlockBytes = 32768;
inline constexpr size_t kWalIndexHeaderBytes = 48;
inline constexpr size_t kBackfillOffset = 96;
inline constexpr size_t kReadMarkOffset = 100;  // + 4 * slot
inline constexpr size_t kBackfillAttemptedOffset = 128;
inline constexpr uint32_t kReadMarkNotUsed = 0xffffffffu;
inline constexpr int kReadSlots = 5;

// Lock numbers for xShmLock.
inline constexpr int kLockWrite = 0;
inline constexpr int kLockCheckpoint = 1;
inline constexpr int kLockRecover = 2;
constexpr int LockRead(int slot) { return 3 + slot; }

// One header copy, exactly as in memory.
struct WalIndexHeader {
  uint32_t version;
  uint32_t unused;
  uint32_t change;  // iChange: +1 a commit, back to 0 on recovery: never a cursor
  uint8_t is_init;
  uint8_t big_endian_checksum;  // of the WAL file: its magic's last bit
  uint16_t page_size_code;      // 1 means 65536
  uint32_t max_frame;           // mxFrame: last committed frame, 0 = empty
  uint32_t page_count;          // nPage: database size after that commit
  uint32_t frame_checksum[2];   // aFrameCksum: running checksum behind max_frame
  uint32_t salt[2];             // bytes as in the WAL file (big-endian there)
  uint32_t header_checksum[2];
};
static_assert(sizeof(WalIndexHeader) == kWalIndexHeaderBytes);

inline uint32_t PageSizeOf(const WalIndexHeader& h) {
  return (h.page_size_code & 0xfe00u) | static_cast<uint32_t>(h.page_size_code & 1u) << 16;
}
inline uint16_t PageSizeCode(uint32_t page_size) {
  return static_cast<uint16_t>((page_size & 0xff00u) | page_size >> 16);
}

inline bool SameSalt(const uint32_t a[2], const uint32_t b[2]) { return a[0] == b[0] && a[1] == b[1]; }

// SQLite's WAL checksum (wal.c walChecksumBytes) over a multiple of 8 bytes; `big_endian` names the order of the words.
void WalChecksum(bool big_endian, Bytes bytes, uint32_t checksum[2]);

// The header_checksum that belongs to the other fields.
void ComputeHeaderChecksum(const WalIndexHeader& header, uint32_t out[2]);
// is_init set and header_checksum right.
bool IsValid(const WalIndexHeader& header);

// Hash table geometry.
inline constexpr uint32_t kHashSlots = 8192;
inline constexpr uint32_t kFramesPerBlock = 4096;
inline constexpr uint32_t kFramesInBlock0 = 4062;
constexpr uint32_t BlockOfFrame(uint32_t frame) {  // frame from 1
  return (frame + kFramesPerBlock - kFramesInBlock0 - 1) / kFramesPerBlock;
}
// Number of frames in all blocks before `block`.
constexpr uint32_t FramesBefore(uint32_t block) {
  return block == 0 ? 0 : kFramesInBlock0 + (block - 1) * kFramesPerBlock;
}
constexpr uint32_t HashOfPage(uint32_t pgno) { return (pgno * 383) & (kHashSlots - 1); }

}  // namespace runnel::sqlite
