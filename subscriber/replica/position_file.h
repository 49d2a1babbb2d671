// Where a replica's image stands, in a small file beside it: "<replica>-runnel/position", memory-mapped, so that kill
// -9 of this process loses nothing that was stored. Two slots are written in turn; the newest one with a right checksum
// counts.
//
// A commit writes twice: `hi` names the commit and the WAL it will leave behind *before* its last frame is written
// (from then on a recovery can make it visible), `lo` follows after. Whatever a crash leaves, comparing the WAL's
// identity with both says which of the two the image is.
//
// Slot (kSlotBytes, big-endian; slots at 0 and 2048 of a 4096-byte file, so that no disk sector holds both):
//    0    8  magic "RNLPOS01"
//    8    8  sequence, +1 each write
//   16    4  flags: 1 clean, 2 bootstrap pending, 4 written without any fsync
//   20    4  page size
//   24   16  boot id of the kernel that ran when this was written
//   40   16  durable position: TXID, checksum
//   56   24  inode of the image's file; its size and mtime (ns) at rest, zeros: not at rest
//   80   72  lo   each: lineage 16, TXID 8, checksum 8, page count 4, log sequence 8,
//  152   72  hi         WAL: salts 8 (raw), max frame 4, frame checksum 8; zero padding 8
//  224    8  CRC-64 of the bytes before
// THREAD: one. DURABLE: against the death of the process at once, against power loss after Sync.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "subscriber/replica/wal_writer.h"

namespace runnel::replica {

using LineageBytes = std::array<uint8_t, 16>;

// One image: its name, and the WAL that goes with it.
struct ImageMark {
  LineageBytes lineage{};
  Position position;
  uint32_t page_count = 0;
  uint64_t log_sequence = 0;  // given by the node: where in the log it goes on
  WalIdentity wal;
};

// Which file it is, and at rest that nobody has written it since: same inode, size and time.
struct FileStamp {
  uint64_t inode = 0;
  uint64_t bytes = 0;
  uint64_t mtime_ns = 0;
  bool operator==(const FileStamp&) const = default;
  bool known() const { return inode != 0; }
  bool at_rest() const { return inode != 0 && bytes != 0; }
};
FileStamp StampOf(const std::string& path);  // unknown when there is no such file

using BootId = std::array<uint8_t, 16>;
BootId CurrentBoot();

struct PositionRecord {
  bool clean = false;      // detached in order, everything durable
  bool bootstrap = false;  // the image of `lo` is about to be renamed into place
  bool unsynced = false;   // sync off: after a power loss even the database file may be torn
  PageSize page_size;
  BootId boot{};
  Position durable;
  FileStamp stamp;
  ImageMark lo;
  ImageMark hi;
};

class PositionFile {
 public:
  static constexpr size_t kFileBytes = 4096;
  static constexpr size_t kSlotBytes = 232;
  static constexpr size_t kSlotOffsets[2] = {0, 2048};

  // Errors: kNotFound; kCorrupt (no slot is whole); kIo.
  static Result<std::unique_ptr<PositionFile>> Open(const std::string& path);
  // In place of whatever is there, through a temporary file and rename. DURABLE on return.
  static Result<std::unique_ptr<PositionFile>> Create(const std::string& path, const PositionRecord& record);
  ~PositionFile();
  PositionFile(const PositionFile&) = delete;
  PositionFile& operator=(const PositionFile&) = delete;

  const PositionRecord& record() const { return record_; }
  void Write(const PositionRecord& record);
  Status Sync();

  // One slot as bytes, and back: nullopt unless every byte is as written.
  static void Encode(const PositionRecord& record, uint64_t sequence, std::byte out[kSlotBytes]);
  struct Slot {
    uint64_t sequence = 0;
    PositionRecord record;
  };
  static std::optional<Slot> Decode(Bytes bytes);

 private:
  PositionFile(std::string path, std::byte* mapped) : path_(std::move(path)), mapped_(mapped) {}
  static Result<std::byte*> Map(const std::string& path);

  const std::string path_;
  std::byte* const mapped_;
  uint64_t sequence_ = 0;
  PositionRecord record_;
};

}  // namespace runnel::replica
