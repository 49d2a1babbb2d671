// Capture, the sleeping part: polls while the writer is hot, else sleeps on one-shot watches without missing a commit
// in flight.
#include <sys/prctl.h>

#include <algorithm>
#include <cstring>

#include "ltx/base/time.h"
#include "ltx/sqlite/wal_format.h"
#include "publisher/capture.h"
#include "publisher/yielding.h"

namespace runnel::publisher {

using sqlite::WalIndexHeader;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;
using std::chrono::seconds;

namespace {

constexpr microseconds kFinishPoll{40};
constexpr milliseconds kFinishWindow{20};  // how long a foreign checkpoint is watched after it was last seen to work
// Beside a hot writer whose own checkpoint is awaited: one of a few frames takes a hundred microseconds.
constexpr microseconds kCheckpointPoll{30};
constexpr microseconds kReleasePoll{10};
constexpr microseconds kFinishSpin{300};
// The last rest before it ends so early that what is read, sent and copied then is done before that checkpoint is.
constexpr microseconds kReadyBefore{1500};
constexpr microseconds kReadyPoll{100};
constexpr nanoseconds kWholeRest{80000};  // a commit; half the rest beside a writer that takes twice as long
constexpr microseconds kShieldPoll{100};
constexpr milliseconds kTornPoll{1};
constexpr milliseconds kHeldBackPoll{5};  // the caller does not take what there is; its Wake ends this
// A write was seen: the store of the wal-index header follows in microseconds, or after an fsync.
constexpr microseconds kSpin{30};
constexpr microseconds kSoon{200};
constexpr microseconds kSoonPoll{15};
constexpr milliseconds kSync{2};
constexpr microseconds kSyncPoll{40};
constexpr milliseconds kSlowSync{100};
constexpr microseconds kSlowSyncPoll{200};
// Ticks while asleep on watches: nothing depends on them but what no watch can see.
constexpr milliseconds kTickBusy{5};
constexpr milliseconds kTick{20};
constexpr milliseconds kTickQuiet{500};
constexpr seconds kPendingLooked{10};
constexpr seconds kRecent{20};
constexpr milliseconds kPollEagerly{100};
constexpr microseconds kEagerPoll{500};
constexpr milliseconds kPoll{2};
constexpr unsigned long kTimerSlackNs = 1000;

void SpinPause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

bool Before(Clock::time_point then, Clock::time_point now, nanoseconds window) {
  return then != Clock::time_point{} && now - then < window;
}

}  // namespace

void Capture::TakeEvents() {
  uint32_t bits = wake_->Take();
  if (bits == 0) return;
  Clock::time_point now = Clock::now();
  if ((bits & (WakeHub::kWal | WakeHub::kOverflow)) != 0) wal_written_ = now;
  if ((bits & WakeHub::kDb) != 0 && pins_.pin().slot > 0) db_written_ = now;
}

void Capture::SleepFor(nanoseconds time, Clock::time_point latest) {
  nanoseconds left = latest - Clock::now();
  wake_->SleepFor(std::min(time, left));
}

bool Capture::SomethingToRead(const WalIndexHeader& header) const {
  const WalPosition& at = tail_.position();
  return header.max_frame != 0 && (header.max_frame != at.frame || !sqlite::SameSalt(header.salt, at.salt));
}

// Somebody else checkpoints and may reach mx_frame any moment: slot 0 must be taken before the next commit.
bool Capture::FinishLineNear(Clock::time_point now) const {
  return pins_.pin().slot > 0 && !backfilled_ && !checkpointer_.busy() &&
         (Before(db_written_, now, kFinishWindow) || Before(backfill_moved_, now, kFinishWindow));
}

void Capture::Wait(Clock::time_point latest) {
  if (!slack_set_) {
    ::prctl(PR_SET_TIMERSLACK, kTimerSlackNs);  // the default rounds a sleep of 15 us up to 65
    slack_set_ = true;
  }
  // Only then: a writer that pauses is better served at once, and one that checkpoints waits for nobody.
  const bool yield = hot_ && !finish_line_.near();
  if (yielding_ != yield) {
    yielding_ = yield;
    YieldToOthers(yield);
  }
  Clock::time_point now = Clock::now();
  if (finish_line_.near() && pins_.pin().slot > 0 && reached_end_ && !forcing_) return WaitForFinish(latest);
  // Beside a writer that never pauses there is always more to read, and each acknowledgement is an event. Taking a rest
  // all the same makes few large messages of many small ones: every message wakes half a dozen threads, here and in the
  // server, and each of them makes the writer's next fsync wait for a core.
  if (hot_ && reached_end_ && !forcing_) return Pause(std::min<nanoseconds>(HotRest(), latest - now));
  WalIndexHeader header;
  if (!locks_->ReadHeader(header, 3)) return SleepFor(kTornPoll, latest);
  if (SomethingToRead(header)) {
    if (!reached_end_) SleepFor(kHeldBackPoll, latest);
    return;
  }
  if (hot_) return SleepFor(HotRest(), latest);
  if (shield_since_ != Clock::time_point{}) return SleepFor(kShieldPoll, latest);
  if (WaitForSeenWrite(now)) return;
  if (FinishLineNear(now)) return SleepFor(kFinishPoll, latest);
  SleepArmed(now, latest);
}

// The faster the writer, the more there is in a message and the more it costs to interrupt it. Only until shortly
// before the writer may checkpoint.
nanoseconds Capture::HotRest() const {
  const nanoseconds commit_time = std::max<nanoseconds>(commit_time_, kWholeRest);
  const nanoseconds rest = options_.hot_rest_max * kWholeRest.count() / commit_time.count();
  if (!finish_line_.awaited()) return rest;
  // A little less than until then, because the writer may be faster than it was.
  const nanoseconds left = frame_time_ * finish_line_.frames_left() * 4 / 5 - kReadyBefore;
  return std::clamp<nanoseconds>(left, std::min<nanoseconds>(kReadyPoll, rest), rest);
}

// Lets the WAL go between the end of the writer's checkpoint and its next frame. What that checkpoint copies must be
// read and released by then; while it lasts nothing is added, for its writer is busy with it.
void Capture::WaitForFinish(Clock::time_point latest) {
  WalIndexHeader header;
  // A bus that has no room keeps us from reading; all the same this is left within some hundred frames.
  if (!locks_->ReadHeader(header, 3) || SomethingToRead(header)) return SleepFor(kReleasePoll, latest);
  const bool working = locks_->backfill_attempted() == header.max_frame && locks_->backfill() != header.max_frame;
  if (!working) return SleepFor(kCheckpointPoll, latest);
  if (!ReleasedAll(header)) return SleepFor(kReleasePoll, latest);
  const Clock::time_point until = Clock::now() + kFinishSpin;
  do {
    if (locks_->backfill() == header.max_frame && RepinZero()) {
      ++stats_.finished;
      return;
    }
    SpinPause();
  } while (locks_->Word(offsetof(WalIndexHeader, max_frame)) == header.max_frame && Clock::now() < until);
}

// True when a write was seen whose commit may appear any moment.
bool Capture::WaitForSeenWrite(Clock::time_point now) {
  if (wal_written_ == Clock::time_point{}) return false;
  nanoseconds since = now - wal_written_;
  if (since >= kSlowSync) {
    wal_written_ = {};
    return false;
  }
  if (since < kSpin) {
    for (int i = 0; i < 20; ++i) SpinPause();
    return true;
  }
  wake_->SleepFor(since < kSoon ? kSoonPoll : since < kSync ? kSyncPoll : kSlowSyncPoll);
  return true;
}

// A frame of this WAL beyond mx_frame: a commit in flight whose write came before our watch, or what a rollback left.
// 0: none.
uint64_t Capture::PendingFrame(const WalIndexHeader& header) const {
  std::byte wal_header[sqlite::kWalHeaderBytes];
  const void* salt = header.salt;
  if (header.max_frame == 0) {  // of an empty WAL only the file knows the salts of what is being written
    if (!locks_->ReadWal(wal_header, 0).ok()) return 0;
    if (std::memcmp(wal_header + 16, tail_.position().salt, 8) == 0) return 0;
    salt = wal_header + 16;
  }
  std::byte frame[sqlite::kFrameHeaderBytes];
  if (!locks_->ReadWal(frame, sqlite::FrameOffset(header.max_frame + 1, locks_->page_size())).ok()) return 0;
  if (std::memcmp(frame + 8, salt, 8) != 0) return 0;
  return (uint64_t{header.max_frame} << 32 | LoadBe32(frame + 16)) ^ LoadBe32(frame + 8) ^ 1;
}

void Capture::SleepArmed(Clock::time_point now, Clock::time_point latest) {
  const bool want_db = pins_.pin().slot > 0 && !checkpointer_.busy();
  bool watched = !poll_ && wake_->ArmWal() && (!want_db || wake_->ArmDb());
  // What happened before the watch: a commit, the end of a checkpoint, or a write whose commit is still to come.
  WalIndexHeader header;
  if (!locks_->ReadHeader(header, 20) || SomethingToRead(header)) return;
  if (pins_.pin().slot > 0 && locks_->backfill() == header.max_frame && !backfilled_) return;
  uint64_t pending = PendingFrame(header);
  if (pending != 0 && pending != pending_seen_) {
    pending_seen_ = pending;
    pending_since_ = wal_written_ = now;
    return;
  }
  if (!watched)
    return SleepFor(now - last_commit_ < kPollEagerly ? nanoseconds(kEagerPoll) : nanoseconds(kPoll), latest);
  bool quiet =
      pins_.pin().slot == 0 && !checkpointer_.busy() && (pending == 0 || now - pending_since_ > kPendingLooked);
  bool busy = checkpointer_.busy() || now - last_commit_ < kRecent;
  SleepFor(quiet ? kTickQuiet : busy ? kTickBusy : kTick, latest);
}

}  // namespace runnel::publisher
