#include "bus/kafka/seat.h"

#include <algorithm>

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

// How often and how long a displaced writer waits for a rival that has shown itself: a rival's next try comes within 64
// ms.
constexpr int kLooks = 20;
constexpr milliseconds kLookPause(50);

struct Sight {
  Offset end = 0;
  bool last_is_there = false;
  bool foreign_counts = false;
  bool ours_counts = false;  // behind what we know as our last
  bool rival_tries = false;  // a marker that does not count
};

Result<Sight> Look(Inspector& inspector, const Displaced& displaced) {
  Sight sight;
  TRY_ASSIGN(const Watermarks marks, inspector.Marks());
  sight.end = marks.end;
  const Offset behind = static_cast<Offset>(displaced.last.seq);
  const Offset from = std::max<Offset>(0, behind - 1);
  if (from < marks.low || behind > marks.end) return sight;  // trimmed, or made again and shorter
  sight.last_is_there = behind == 0;
  TRY(inspector.Scan(from, marks.end, [&](const rd_kafka_message_t& message) {
    const std::optional<Stamp> stamp = TakeStamp(message);
    if (!stamp.has_value()) return true;
    const bool counts = stamp->offset == message.offset;
    const bool ours = stamp->leadership == displaced.leadership;
    if (message.offset < behind) {
      sight.last_is_there = counts && stamp->id() == displaced.last;
    } else if (counts) {
      (ours ? sight.ours_counts : sight.foreign_counts) = true;
    } else if (stamp->is_marker && !ours) {
      sight.rival_tries = true;
    }
    return true;
  }));
  return sight;
}

}  // namespace

Result<Offset> FindSeat(Inspector& inspector, const Displaced& displaced, std::stop_token stop) {
  const std::string& symptom = displaced.symptom;
  for (int i = 0;; ++i) {
    const Result<Sight> sight = Look(inspector, displaced);
    if (!sight.ok()) return sight.error().As(Errc::kUnavailable).With(symptom);
    if (!sight->last_is_there) return Error(Errc::kUnavailable, symptom + ": the message in front of it is gone");
    if (sight->foreign_counts) {
      // Before anything of ours lies in the log, it may be a late record of this process's own last writer.
      if (displaced.ours_in_log) return Error(Errc::kConflict, symptom + ": another writer leads");
      return Error(Errc::kUnavailable, symptom + ": the log has moved");
    }
    if (sight->ours_counts)
      return Error(Errc::kUnavailable, symptom + ": the log holds more of ours than was acknowledged");
    if ((!sight->rival_tries && !displaced.rival_known) || i == kLooks) return sight->end;
    TRY(SleepUntil(DeadlineIn(kLookPause), stop));
  }
}

}  // namespace runnel::bus::kafka
