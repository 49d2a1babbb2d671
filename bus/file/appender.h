// Writes records at the end of the log, as its leader: the file half of a writer, without queue and threads.
//
// Life: Open; TakeLead once, which repairs the tail an earlier writer may have left torn, shows it, puts the marker
// behind it and fences everybody else; then Append. After the first error it is dead. One thread at a time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "bus/file/log_dir.h"
#include "bus/file/settings.h"
#include "ltx/base/fs.h"
#include "ltx/base/result.h"

namespace runnel::bus::file {

class Appender {
 public:
  // Errors: kNotFound, kCorrupt.
  static Result<std::unique_ptr<Appender>> Open(const std::string& path, const Settings& settings);

  // The decision is called once, with the log locked: it must not call into this log's writers.
  // DURABLE: the marker. Errors: the decision's; kCancelled; kUnavailable (deleted meanwhile); kCorrupt; kIo,
  // kExhausted.
  Status TakeLead(const TakeOverDecision& decision, std::stop_token stop);

  // Writes the payloads as the next records. They are not durable yet, but readers may see them.
  // Errors: kConflict (another writer leads), kUnavailable (the log was deleted), kCancelled, kIo, kExhausted.
  Status Append(std::span<const std::string> payloads, std::stop_token stop);

  // What is written and may not be on disk yet: the open segment up to a size (earlier segments are always on disk).
  // Whoever syncs the file, on any thread, says so by NoteSynced.
  struct Extent {
    std::shared_ptr<File> file;
    uint64_t bytes = 0;
  };
  Extent extent() const { return {segment_, segment_bytes_}; }
  void NoteSynced(const Extent& extent);

  // Sequence of the last record in the log.
  StreamSeq last_seq() const { return StreamSeq(next_seq_.raw() - 1); }

 private:
  Appender(LogDir dir, LeaderFile leader, const Settings& settings)
      : dir_(std::move(dir)), leader_(std::move(leader)), settings_(settings) {}

  // All REQUIRE the lock.
  Status Repair(const LeaderState& state);
  Status RepairLastSegment(const LeaderState& state, StreamSeq segment);
  Result<std::optional<Message>> Tail(const LeaderState& state);
  Status CheckStillLeader(const LeaderState& state) const;
  Status Sync();
  Status WriteRecords(const LeaderState& state, std::span<const std::string> payloads);
  Status NewSegment(const LeaderState& state);
  Status DropOldSegments(LeaderState state);
  WallTime Now() const;

  const LogDir dir_;
  LeaderFile leader_;
  const Settings settings_;
  uint64_t fence_ = 0;
  std::shared_ptr<File> segment_;  // shared with who syncs it
  uint64_t segment_bytes_ = 0;     // where the next record goes
  uint64_t synced_bytes_ = 0;      // of this segment
  StreamSeq next_seq_{1};
  WallTime last_stored_at_;  // stored times never go back, even when the clock does
  std::string buffer_;
};

}  // namespace runnel::bus::file
