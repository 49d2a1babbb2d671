// What the feed's image held before the commits that a restart has to read again, so that it can go back to the last
// state it can go on from.
//
//   DIR/undo, big-endian:
//   offset  bytes  what
//        0      8  the state it belongs to (its undo_number, lower 24 bits), then the bytes of records (40 bits)
//       16      …  records: page number (4), first byte in the page (4), bytes (4), zero (4), what the page held there;
//                  filled up to 8 bytes
//
// I1  A process killed at any instruction leaves whole records, for all that was changed: records count with one store
//     of 8 bytes, before the image is touched.
// I2  What belongs to an earlier state does not count: a process killed between a new state and Start leaves none.
//
// After a power loss there may be anything; an image is proven by its checksum whenever it is opened.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/fs.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "subscriber/feed/mapped_file.h"

namespace runnel::feed {

// THREAD: one.
class UndoLog {
 public:
  struct Record {
    Pgno pgno;
    uint32_t offset = 0;
    Bytes bytes;  // LIFETIME: until the next Reserve
  };

  static Result<std::unique_ptr<UndoLog>> Open(const std::string& path);
  UndoLog(const UndoLog&) = delete;
  UndoLog& operator=(const UndoLog&) = delete;

  // The records of this state, oldest first. Errors: kCorrupt (after a power loss).
  Result<std::vector<Record>> Read(uint64_t state_number) const;
  // Forgets what is there: from here on records belong to this state.
  void Start(uint64_t state_number);

  static uint64_t RecordBytes(size_t bytes) { return kRecordHeadBytes + (bytes + 7) / 8 * 8; }
  // Room for records of so many bytes together. Errors: kIo, kExhausted (the disk is full).
  Status Reserve(uint64_t bytes);
  // REQUIRES: room was reserved.
  void Add(Pgno pgno, size_t offset, Bytes held);
  // Records added so far count. DURABLE: against the death of the process when this returns.
  void Publish();

 private:
  static constexpr uint64_t kHeadBytes = 16;
  static constexpr uint64_t kRecordHeadBytes = 16;

  explicit UndoLog(File file) : file_(std::move(file)) {}

  MappedFile file_;
  uint64_t state_number_ = 0;
  uint64_t end_ = kHeadBytes;
};

}  // namespace runnel::feed
