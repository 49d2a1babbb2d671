// Which pin a database should have now, and when to checkpoint it. Pure decisions over facts that capture has gathered;
// no locks, no clock, no files.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>

#include "publisher/wal_pin.h"

namespace runnel::publisher {

using Clock = std::chrono::steady_clock;

// --- pins

struct PinFacts {
  PinKind kind = PinKind::kNone;
  uint32_t mx_frame = 0;
  uint32_t backfill = 0;
  bool released_all = false;    // everything up to mx_frame is durable elsewhere
  bool hot = false;             // commits come faster than a wake-up is worth
  bool checkpointing = false;   // our own checkpoint runs: it relies on a pin on 1..4
  bool finish_awaited = false;  // the hot writer's own checkpoint is waited for (FinishLine)
};

enum class PinAction { kKeep, kToZero, kToMark, kToNomark, kLeaveZeroToMark, kLeaveZeroToNomark };

inline constexpr uint32_t kAutocheckpointFrames = 1000;  // SQLite's default
// Close to that: an application's autocheckpoint is about to run at each commit, and would copy and fsync each time.
inline constexpr uint32_t kAutocheckpointNear = 700;

PinAction DecidePin(const PinFacts& facts);

// --- journal

struct JournalFacts {
  uint64_t wal_frames = 0;
  uint64_t backfill_frames = 0;
  std::optional<uint32_t> checkpoint_frames = {};  // as configured; nullopt: the application checkpoints
  uint64_t limit_frames = 0;                       // wal-limit
  bool hot = false;
  bool finish_awaited = false;  // soon
};

// The WAL grows because commits are in flight to the bus whenever it could be reset: copying them elsewhere lets it
// go. Beside a hot writer that is so over every bus. Not so when a reader of the application keeps it: then much of it
// is not in the database file either.
bool JournalHelps(const JournalFacts& facts);

// --- checkpoints

struct CheckpointFacts {
  Clock::time_point now;
  uint32_t mx_frame = 0;
  uint32_t backfill = 0;
  bool released_all = false;  // everything up to mx_frame is durable elsewhere
  bool idle = false;          // no commit for checkpoint_idle
  bool over_limit = false;    // the WAL has reached wal-limit
};

// What one PASSIVE checkpoint of ours came to.
struct CheckpointOutcome {
  bool busy = false;    // somebody else is checkpointing
  bool failed = false;  // an error, disk full for one
  uint32_t target = 0;  // frames it could have copied under our pin
};

enum class CheckpointAction { kNone, kStart, kForce };

class CheckpointPolicy {
 public:
  // `frames`: size of the WAL from which a checkpoint is wanted.
  explicit CheckpointPolicy(uint32_t frames) : frames_(frames) {}

  // Facts are those after the checkpoint. kForce: passive checkpoints do not come to an end under this writer.
  CheckpointAction Finished(const CheckpointOutcome& outcome, const CheckpointFacts& facts);
  // kStart when one is due. REQUIRES: none is running. The caller reports with Started or Postponed.
  CheckpointAction Decide(const CheckpointFacts& facts) const;
  void Started(Clock::time_point now);
  void Postponed(Clock::time_point now);  // there was no pin on 1..4
  void Forced(Clock::time_point now, bool finished);
  void LetGo();  // the WAL may be reset: a new round begins

 private:
  uint32_t frames_;
  Clock::time_point not_before_{};
  uint32_t last_remainder_ = 0;
  int rounds_ = 0;
  int behind_reader_ = 0;
  int unfinished_ = 0;  // rounds given up because the WAL grew on before it could be let go
  int force_failures_ = 0;
};

}  // namespace runnel::publisher
