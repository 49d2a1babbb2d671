#include "publisher/pin_policy.h"

#include <algorithm>

namespace runnel::publisher {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr microseconds kBusyRetry{300};  // another checkpointer is done soon; backing off lets the WAL grow
constexpr milliseconds kFinishedPause{1};
constexpr milliseconds kRoundPause{5};
constexpr milliseconds kReaderPauseShort{2};
constexpr milliseconds kReaderPauseLong{100};
constexpr milliseconds kUnfinishedPauseMax{100};
constexpr milliseconds kFailurePause{1000};
constexpr milliseconds kForcePause{20};
constexpr int kForcePauseDoublingsMax = 6;
constexpr uint32_t kSmallRemainder = 200;  // frames: what a forced finish can copy in about a millisecond

// A WAL of twice the size at which it is checkpointed should have been let go by now.
constexpr uint64_t kJournalCheckpoints = 2;

bool WantsMark(const PinFacts& facts) {
  if (facts.finish_awaited) return false;  // that checkpoint is to copy everything
  // A mark makes the application's own autocheckpoint a cheap no-op; without one it would copy at each commit beyond
  // 1000 frames for as long as the WAL cannot be reset.
  return facts.hot || (!facts.released_all && facts.mx_frame >= kAutocheckpointNear);
}

}  // namespace

PinAction DecidePin(const PinFacts& facts) {
  bool mark = WantsMark(facts);
  switch (facts.kind) {
    case PinKind::kNone: return PinAction::kKeep;
    case PinKind::kZero:
      // Slot 0 stops all backfill, so it is left as soon as there is something to copy.
      if (facts.backfill >= facts.mx_frame) return PinAction::kKeep;
      return mark ? PinAction::kLeaveZeroToMark : PinAction::kLeaveZeroToNomark;
    case PinKind::kMark:
    case PinKind::kNomark: break;
  }
  if (facts.checkpointing) return PinAction::kKeep;
  if (facts.backfill == facts.mx_frame) {
    return facts.released_all ? PinAction::kToZero : PinAction::kKeep;
  }
  if (mark && facts.kind == PinKind::kNomark) return PinAction::kToMark;
  if (!mark && facts.kind == PinKind::kMark) return PinAction::kToNomark;
  return PinAction::kKeep;
}

bool JournalHelps(const JournalFacts& facts) {
  if (facts.finish_awaited) return true;  // it must be there before the WAL can be let go
  // A hot writer keeps messages in flight over any bus, and copying all it writes is not free: it gets more time.
  uint64_t from = facts.limit_frames / 2;
  const uint64_t checkpoint_frames = facts.checkpoint_frames.value_or(kAutocheckpointFrames);
  if (!facts.hot) from = std::min(from, kJournalCheckpoints * checkpoint_frames);
  const uint64_t copied = std::min(facts.backfill_frames, facts.wal_frames);
  const uint64_t rest_max = std::max<uint64_t>(facts.wal_frames / 2, kAutocheckpointFrames);
  return facts.wal_frames >= std::max<uint64_t>(from, 1) && facts.wal_frames - copied < rest_max;
}

CheckpointAction CheckpointPolicy::Finished(const CheckpointOutcome& outcome, const CheckpointFacts& facts) {
  if (outcome.failed) {
    not_before_ = facts.now + kFailurePause;
    return CheckpointAction::kNone;
  }
  if (outcome.busy) {
    not_before_ = facts.now + kBusyRetry;
    return CheckpointAction::kNone;
  }
  if (facts.backfill < outcome.target) {  // a reader of the application holds an older image: never force, wait for it
    ++behind_reader_;
    rounds_ = 0;
    last_remainder_ = 0;
    not_before_ = facts.now + (behind_reader_ < 3 ? kReaderPauseShort : kReaderPauseLong);
    return CheckpointAction::kNone;
  }
  behind_reader_ = 0;
  uint32_t remainder = facts.mx_frame - std::min(facts.backfill, facts.mx_frame);
  if (remainder == 0 && facts.released_all) {
    last_remainder_ = 0;
    rounds_ = 0;
    not_before_ = facts.now + kFinishedPause;
    return CheckpointAction::kNone;
  }
  ++rounds_;
  bool shrinking = last_remainder_ == 0 || remainder < last_remainder_ * uint64_t{7} / 10;
  last_remainder_ = remainder;
  if (facts.over_limit) {
    // All copied but not acknowledged is no saturation yet: the bus gets its rounds.
    bool outrun = remainder != 0 && rounds_ >= 2 && (remainder < kSmallRemainder || !shrinking);
    if (outrun || rounds_ >= 5) return CheckpointAction::kForce;
    not_before_ = facts.now;
    return CheckpointAction::kNone;
  }
  if (remainder != 0 && shrinking && rounds_ < 3) {
    not_before_ = facts.now;
    return CheckpointAction::kNone;
  }
  rounds_ = 0;
  // It does not come to an end at this rate (or not before the bus acknowledges): copying a few frames again and again
  // would cost the application's fsyncs more than a longer WAL does.
  unfinished_ = std::min(unfinished_ + 1, 8);
  not_before_ = facts.now + std::min(kRoundPause * unfinished_, kUnfinishedPauseMax);
  return CheckpointAction::kNone;
}

CheckpointAction CheckpointPolicy::Decide(const CheckpointFacts& facts) const {
  if (facts.now < not_before_ || facts.mx_frame == 0 || facts.backfill >= facts.mx_frame)
    return CheckpointAction::kNone;
  return facts.mx_frame >= frames_ || facts.idle ? CheckpointAction::kStart : CheckpointAction::kNone;
}

void CheckpointPolicy::Started(Clock::time_point now) { not_before_ = now + kRoundPause; }

void CheckpointPolicy::Postponed(Clock::time_point now) { not_before_ = now + kRoundPause; }

void CheckpointPolicy::Forced(Clock::time_point now, bool finished) {
  rounds_ = 0;
  last_remainder_ = 0;
  force_failures_ = finished ? 0 : std::min(force_failures_ + 1, kForcePauseDoublingsMax);
  not_before_ = now + (finished ? kFinishedPause : kForcePause * (1 << force_failures_));
}

void CheckpointPolicy::LetGo() {
  rounds_ = 0;
  last_remainder_ = 0;
  unfinished_ = 0;
  behind_reader_ = 0;
}

}  // namespace runnel::publisher
