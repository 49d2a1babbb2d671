// What a feed knows across restarts, in one small file that is written without a system call.
//
//   two slots of 512 bytes, the newer valid one counts:
//   offset  bytes  what (big-endian)
//        0      8  "RNLFEED1"
//        8      8  number of this write, the larger one is newer
//       16     16  lineage
//       32      4  page size, 0: no image yet
//       36      4  pages of the image
//       40      8  TXID of the image
//       48      8  checksum of the image
//       56      1  phase (fixed: 0 none, 1 catching up, 2 snapshot, 3 stream)
//       57      1  1: a snapshot follows the catching up
//       58      1  delivered: 0 nothing, 1 of a commit, 2 of a snapshot
//       59      5  zero
//       64      8  TXID to catch up to
//       72      8  TXID of the last delivered event
//       80      8  its ordinal
//       88      8  number that undo records of this state carry (undo_log.h)
//       96      8  fingerprint of the tables that are reported
//      504      8  CRC-64 of the 504 bytes before
//
// I1  A process killed at any instruction leaves the old or the new state, never a part: the slot that counts is not
//     touched, and the other one counts only once its CRC is right.
// A power loss may lose or tear more than that; an image is proven by its checksum whenever it is opened.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ltx/base/fs.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "subscriber/feed/token.h"

namespace runnel::feed {

// Fixed on disk.
enum class Phase : uint8_t {
  kNone = 0,      // no image
  kCatchUp = 1,   // the image moves on in silence
  kSnapshot = 2,  // its rows are being told
  kStream = 3,    // each commit is told
};

struct FeedState {
  LineageId lineage{};
  PageSize page_size;
  uint32_t page_count = 0;
  Position position;
  Phase phase = Phase::kNone;
  bool snapshot_follows = false;
  Txid target;                     // kCatchUp: silent up to and with this commit
  std::optional<Token> delivered;  // up to here the sink has everything; its lineage is ours
  uint64_t undo_number = 0;
  uint64_t tables = 0;
};

// THREAD: one.
class StateFile {
 public:
  // Makes the file if it is not there. Errors: kCorrupt (neither slot is whole), kIo.
  static Result<StateFile> Open(const std::string& path);
  ~StateFile();
  StateFile(StateFile&& other) noexcept;
  StateFile& operator=(StateFile&&) = delete;

  const FeedState& state() const { return state_; }
  // DURABLE: against the death of the process when this returns; against power loss after Sync.
  void Write(const FeedState& state);
  Status Sync();

 private:
  StateFile(File file, std::byte* slots) : file_(std::move(file)), slots_(slots) {}
  Status Read();

  File file_;
  std::byte* slots_;
  uint64_t number_ = 0;
  FeedState state_;
};

}  // namespace runnel::feed
