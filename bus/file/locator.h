// Finds places in a log: by sequence, by time, the tail. Remembers where it has been (one point a megabyte), so that
// looking again costs little. Takes no lock on the log. THREAD: any.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "bus/bus.h"
#include "bus/file/log_dir.h"
#include "bus/file/segment_scanner.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"

namespace runnel::bus::file {

// Where a record stands, or where the next one will.
struct Place {
  StreamSeq segment;  // its first sequence; 0: the log has no segment yet
  uint64_t offset = kSegmentHeaderBytes;
  StreamSeq seq;
};

struct Found {
  Place place;                     // of `message`, else the end of the log
  std::optional<Message> message;  // nullopt: nothing there yet
};

class Locator {
 public:
  explicit Locator(const LogDir& dir) : dir_(dir) {}

  // The first whole record with at least this sequence. Damaged places are passed over.
  Result<Found> FindSequence(const LeaderState& leader, StreamSeq seq);
  // The first whole record stored at or after this time.
  Result<Found> FindTime(const LeaderState& leader, WallTime time);
  // The last whole record, and the place behind it. `message` is nullopt if no record is left that was not given up.
  struct Tail {
    Place end;  // where the next record goes
    std::optional<Message> message;
  };
  Result<Tail> FindTail(const LeaderState& leader);

 private:
  struct Point {
    uint64_t offset = kSegmentHeaderBytes;
    StreamSeq seq;
    WallTime stored_at;  // of the record at the point
  };
  struct Wanted {
    StreamSeq seq;
    WallTime time;
    bool Takes(const RecordHeader& header) const { return header.seq >= seq && header.stored_at >= time; }
  };

  Result<Found> Find(const LeaderState& leader, const Wanted& wanted);
  Result<Found> FindFrom(const LeaderState& leader, const std::vector<StreamSeq>& segments, size_t index,
                         const Wanted& wanted);
  // The segment to start in: the last one whose first record cannot be behind the wanted one.
  Result<size_t> FirstSegment(const LeaderState& leader, const std::vector<StreamSeq>& segments, const Wanted& wanted);
  Result<SegmentScanner> OpenScanner(const LeaderState& leader, StreamSeq segment);
  // Next record, over damage.
  static Result<ScanStep> NextWhole(SegmentScanner& scanner);

  Point PointBefore(const LeaderState& leader, StreamSeq segment, const Wanted& wanted);
  void Remember(StreamSeq segment, const ScanStep& step);

  const LogDir& dir_;
  Mutex mutex_;
  Incarnation incarnation_ GUARDED_BY(mutex_);  // whose points these are
  std::map<StreamSeq, std::vector<Point>> points_ GUARDED_BY(mutex_);
};

}  // namespace runnel::bus::file
