// Capture, the policy part: which pin to hold, when to checkpoint, what to do about a torn header.
#include <sys/stat.h>

#include <algorithm>
#include <cstring>

#include "ltx/base/time.h"
#include "ltx/sqlite/wal_format.h"
#include "publisher/capture.h"
#include "publisher/yielding.h"

namespace runnel::publisher {

using sqlite::kLockCheckpoint;
using sqlite::kLockWrite;
using sqlite::WalIndexHeader;
using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::nanoseconds;

namespace {

constexpr milliseconds kTornPatience{20};
constexpr milliseconds kFileCheckEvery{250};
constexpr milliseconds kPinRetry{1};       // all slots are in use
constexpr microseconds kFastCommit{400};   // commits closer than this make the writer hot
constexpr microseconds kSyncedCommit{30};  // a faster writer does not sync and is back at the WAL before we can look
constexpr milliseconds kHotEnds{3};
constexpr int kHotFrom = 5;
constexpr int kFastTurnsMax = 20;
constexpr milliseconds kDrainBeforeLock{20};
constexpr uint64_t kForceLagMax = 1000;  // frames: what a bus takes in about a millisecond
constexpr milliseconds kWriteLockPatience{100};
constexpr microseconds kWriteLockRetry{15};
constexpr microseconds kForcedBusyRetry{100};

// Down at once, up slowly: a pause or a checkpoint does not make a writer slow.
void Follow(nanoseconds& time, nanoseconds seen) { time = time.count() == 0 ? seen : std::min(seen, time + time / 8); }

uint64_t MicrosecondsSince(Clock::time_point start) {
  return static_cast<uint64_t>(std::chrono::duration_cast<microseconds>(Clock::now() - start).count());
}

}  // namespace

// A file that was moved away or replaced goes on being written by nobody we know: our handles still show the old one.
Status Capture::CheckFiles(Clock::time_point now) {
  if (now < next_file_check_) return Ok();
  next_file_check_ = now + kFileCheckEvery;
  auto check = [](const std::string& path, FileId& known) -> Status {
    struct stat st {};
    if (::stat(path.c_str(), &st) != 0) {
      return Error(Errc::kRefused, path + ": was removed while it was captured; start the publisher again");
    }
    FileId id{.device = st.st_dev, .inode = st.st_ino};
    if (known == FileId{}) known = id;
    if (known == id) return Ok();
    return Error(Errc::kRefused, path + ": was replaced by another file while it was captured (inode " +
                                     std::to_string(known.inode) + ", now " + std::to_string(id.inode) +
                                     "); start the publisher again");
  };
  TRY(check(options_.path, db_id_));
  return check(options_.path + "-wal", wal_id_);
}

Status Capture::Step() {
  image_.reset();
  TakeEvents();
  Clock::time_point now = Clock::now();
  TRY(CheckFiles(now));
  WalIndexHeader header;
  bool torn_before = torn_since_ != Clock::time_point{};
  if (!locks_->ReadHeader(header, torn_before ? 3 : 200)) {
    StepTorn(now);
    return Ok();
  }
  torn_since_ = {};
  NoteActivity(header, now);
  StepPin(header, now);
  if (options_.checkpoint_frames) StepCheckpoint(now);
  return Ok();
}

// The two header copies differ: their writer is stopped or dead. A read on the worker's connection makes SQLite recover
// them.
void Capture::StepTorn(Clock::time_point now) {
  if (torn_since_ == Clock::time_point{}) torn_since_ = now;
  if (now - torn_since_ < kTornPatience || checkpointer_.busy()) return;
  checkpointer_.Take();
  checkpointer_.StartRecovery();
  torn_since_ = now;
}

void Capture::NoteActivity(const WalIndexHeader& header, Clock::time_point now) {
  const bool same_wal = sqlite::SameSalt(header.salt, seen_salt_);
  if (!same_wal) finish_line_.NewRound();
  if (!same_wal || header.max_frame != seen_frame_) {
    NotePace(header, same_wal, now);
    last_commit_ = now;
    wal_written_ = {};
    seen_frame_ = header.max_frame;
    seen_salt_[0] = header.salt[0];
    seen_salt_[1] = header.salt[1];
    uint64_t frame_bytes = sqlite::kFrameHeaderBytes + locks_->page_size();
    stats_.wal_bytes_max = std::max(stats_.wal_bytes_max, header.max_frame * frame_bytes);
  }
  hot_ = fast_turns_ >= kHotFrom && now - last_commit_ < kHotEnds;
  uint32_t backfill = locks_->backfill();
  if (backfill != seen_backfill_) {
    seen_backfill_ = backfill;
    backfill_moved_ = now;
  }
  backfilled_ = backfill == header.max_frame;
  finish_line_.See(hot_ && commit_time_ >= kSyncedCommit, header.max_frame, backfill);
}

// How fast commits come. A look may find many at once; what counts is the time between them.
void Capture::NotePace(const WalIndexHeader& header, bool same_wal, Clock::time_point now) {
  const nanoseconds since = now - last_commit_;
  // Recovery sets the counter back.
  const uint32_t commits = header.change > seen_change_ ? header.change - seen_change_ : 1;
  seen_change_ = header.change;
  const nanoseconds commit_time = since / commits;
  const bool fast = commit_time < kFastCommit;
  fast_turns_ = fast ? std::min(fast_turns_ + 1, kFastTurnsMax) : std::max(fast_turns_ - 4, 0);
  Follow(commit_time_, commit_time);
  if (same_wal && header.max_frame > seen_frame_) Follow(frame_time_, since / (header.max_frame - seen_frame_));
}

bool Capture::ReleasedAll(const WalIndexHeader& header) const {
  return sqlite::SameSalt(released_.salt, header.salt) && released_.frame == header.max_frame;
}

// --- pins

uint64_t Capture::UnreleasedFrames() const {
  WalIndexHeader header;
  if (!locks_->ReadHeader(header)) return UINT64_MAX;
  bool same = sqlite::SameSalt(released_.salt, header.salt) && released_.frame <= header.max_frame;
  return header.max_frame - (same ? released_.frame : 0);
}

PinFacts Capture::GatherPinFacts(const WalIndexHeader& header) const {
  return {.kind = pins_.pin().kind(),
          .mx_frame = header.max_frame,
          .backfill = locks_->backfill(),
          .released_all = ReleasedAll(header),
          .hot = hot_,
          .checkpointing = checkpointer_.busy(),
          .finish_awaited = finish_line_.awaited()};
}

void Capture::StepPin(const WalIndexHeader& header, Clock::time_point now) {
  PinAction action = DecidePin(GatherPinFacts(header));
  if (pins_.pin().slot == 0 && action == PinAction::kKeep) shield_since_ = {};
  switch (action) {
    case PinAction::kKeep: return;
    case PinAction::kToZero:
      if (RepinZero()) db_written_ = {};
      return;
    case PinAction::kLeaveZeroToMark: LeaveZero(PinKind::kMark, now); return;
    case PinAction::kLeaveZeroToNomark: LeaveZero(PinKind::kNomark, now); return;
    case PinAction::kToMark:
    case PinAction::kToNomark:
      if (now < next_pin_try_) return;
      if (!Repin(action == PinAction::kToMark ? PinKind::kMark : PinKind::kNomark)) next_pin_try_ = now + kPinRetry;
      return;
  }
}

// To slots 1..4, from anywhere. The new pin keeps its whole WAL. If that is the WAL of the old pin nothing changes for
// what is not released; if it follows the one reset that slot 0 allowed, nothing of the old WAL was left to keep.
bool Capture::Repin(PinKind kind) {
  WalIndexHeader header;
  std::optional<Pin> pin = pins_.TakeHigh(kind, false, header);
  if (!pin) {
    ++stats_.pins_failed;
    return false;
  }
  const Pin& old = pins_.pin();
  if (old.slot == 0 && !sqlite::SameSalt(old.salt, pin->salt)) {
    continuation_.end = {.salt = {old.salt[0], old.salt[1]}, .frame = old.mx_frame};
    continuation_.next_salt[0] = pin->salt[0];
    continuation_.next_salt[1] = pin->salt[1];
    continuation_.known = true;
  }
  pins_.Adopt(*pin);
  ++(pin->kind() == PinKind::kMark ? stats_.pins_mark : stats_.pins_nomark);
  return true;
}

// To slot 0: allows the WAL to be reset at exactly the pinned mx_frame, so everything up to there must be released.
bool Capture::RepinZero() {
  WalIndexHeader header;
  std::optional<Pin> pin = pins_.TakeZero(header);
  if (!pin || !ReleasedAll(header)) {
    if (pin) pins_.Discard(*pin);
    ++stats_.pins_failed;
    return false;
  }
  pins_.Adopt(*pin);
  continuation_.known = false;
  checkpoint_policy_.LetGo();
  ++stats_.pins_zero;
  return true;
}

// The shield (I3). A PASSIVE checkpointer that read its header before a reset would copy from the new WAL with stale
// frame counts; it holds CKPT, and our slot 0 stops it. So leave with CKPT in hand. Else stay, unless for a while
// neither a commit came nor WRITE was free: then CKPT's holder may be a FULL, RESTART or TRUNCATE, which reads its
// header under WRITE and waits for us.
bool Capture::LeaveZero(PinKind kind, Clock::time_point now) {
  bool shielded = options_.shield.count() > 0;
  bool checkpoint_lock = shielded && locks_->TryExclusive(kLockCheckpoint);
  if (shielded && !checkpoint_lock) {
    WalIndexHeader header;
    bool commit = !locks_->ReadHeader(header, 3) || header.max_frame != shield_frame_;
    if (shield_since_ == Clock::time_point{} || commit) {
      shield_since_ = now;
      shield_frame_ = locks_->Word(offsetof(WalIndexHeader, max_frame));
    } else if (locks_->TryExclusive(kLockWrite)) {
      locks_->UnlockExclusive(kLockWrite);
      shield_since_ = now;
    }
    if (now - shield_since_ < options_.shield) {
      ++stats_.shield_waits;
      return false;
    }
  }
  bool left = Repin(kind);
  if (checkpoint_lock) locks_->UnlockExclusive(kLockCheckpoint);
  if (left) shield_since_ = {};
  return left;
}

// --- checkpoints

CheckpointFacts Capture::GatherCheckpointFacts(const WalIndexHeader& header, Clock::time_point now) const {
  uint64_t wal_bytes = sqlite::FrameOffset(header.max_frame + 1, locks_->page_size());
  return {.now = now,
          .mx_frame = header.max_frame,
          .backfill = locks_->backfill(),
          .released_all = ReleasedAll(header),
          .idle = now - last_commit_ > options_.checkpoint_idle,
          .over_limit = wal_bytes >= options_.wal_limit_bytes};
}

void Capture::StepCheckpoint(Clock::time_point now) {
  if (forcing_) return;
  if (checkpointer_.asks_for_target()) return MoveMark();
  if (checkpointer_.busy()) return;
  WalIndexHeader header;
  if (!locks_->ReadHeader(header, 20)) return;
  if (std::optional<CheckpointOutcome> outcome = checkpointer_.Take()) {
    stats_.checkpoints_busy += outcome->busy ? 1 : 0;
    stats_.checkpoints_failed += outcome->failed ? 1 : 0;
    bool whole = !outcome->busy && !outcome->failed;
    stats_.checkpoints_behind_reader += whole && locks_->backfill() < outcome->target ? 1 : 0;
    StepPin(header, now);  // the finish line, before the next commit moves it
    if (!locks_->ReadHeader(header, 20)) return;
    if (checkpoint_policy_.Finished(*outcome, GatherCheckpointFacts(header, now)) == CheckpointAction::kForce) {
      bool finished = ForceFinish();
      checkpoint_policy_.Forced(Clock::now(), finished);
      return;
    }
  }
  if (finish_line_.awaited()) return;  // ours would end in the middle of a commit
  const CheckpointFacts facts = GatherCheckpointFacts(header, now);
  if (checkpoint_policy_.Decide(facts) != CheckpointAction::kStart) return;
  // Close to a forced finish the application's own copying is welcome: it stops the writer, so that little is left to
  // do under the write lock.
  const bool alone = hot_ && !facts.over_limit;
  if (pins_.pin().kind() == PinKind::kMark && !alone) Repin(hot_ ? PinKind::kMark : PinKind::kNomark);
  const Pin& pin = pins_.pin();
  if (pin.slot <= 0) {
    checkpoint_policy_.Postponed(now);
    return;
  }
  if (pin.kind() == PinKind::kMark && alone) {
    checkpointer_.StartCheckpointAtMark();
  } else {
    checkpointer_.StartCheckpoint(pin.kind() == PinKind::kMark ? pin.mark : header.max_frame);
  }
  checkpoint_policy_.Started(now);
}

// Our checkpoint has the CKPT lock and waits to hear how far it may copy.
void Capture::MoveMark() {
  Repin(PinKind::kMark);
  const Pin& pin = pins_.pin();
  checkpointer_.Allow(pin.kind() == PinKind::kMark ? pin.mark : pin.mx_frame);
}

// Ends a checkpoint that a saturated writer always outruns: holds WRITE for one PASSIVE and one drain. The only moment
// in which an application can see our lock.
bool Capture::ForceFinish() {
  if (!options_.drain || pins_.pin().slot <= 0) {
    ++stats_.forced_refused;
    return false;
  }
  forcing_ = true;
  YieldToOthers(false);  // the write lock must not wait for our turn on a busy core
  yielding_.reset();
  // A backlog goes before the lock is taken, so that under it there are a few commits at most.
  bool ready = UnreleasedFrames() <= kForceLagMax;
  if (!ready) {
    options_.drain(Clock::now() + kDrainBeforeLock);
    ready = UnreleasedFrames() <= kForceLagMax;
  }
  Clock::time_point give_up = Clock::now() + kWriteLockPatience;
  while (ready && !locks_->TryExclusive(kLockWrite)) {
    if (Clock::now() > give_up) {
      ready = false;
      break;
    }
    Pause(kWriteLockRetry);
  }
  bool finished = false;
  if (ready) {
    Clock::time_point locked = Clock::now();
    finished = FinishUnderWriteLock(locked + options_.force_hold_max);
    locks_->UnlockExclusive(kLockWrite);
    uint64_t held = MicrosecondsSince(locked);
    stats_.hold_us_total += held;
    stats_.hold_us_max = std::max(stats_.hold_us_max, held);
    ++stats_.forced;
    stats_.forced_unfinished += finished ? 0 : 1;
  } else {
    ++stats_.forced_refused;
  }
  forcing_ = false;
  return finished;
}

bool Capture::FinishUnderWriteLock(Clock::time_point deadline) {
  if (pins_.pin().kind() == PinKind::kMark && !Repin(PinKind::kNomark) && !Repin(PinKind::kMark)) return false;
  // The worker copies while we drain.
  checkpointer_.StartCheckpoint(0);
  bool drained = options_.drain(deadline);
  while (checkpointer_.WaitIdle(deadline)) {
    std::optional<CheckpointOutcome> outcome = checkpointer_.Take();
    WalIndexHeader header;
    if (!outcome || outcome->failed || !locks_->ReadHeader(header)) return false;
    if (locks_->backfill() == header.max_frame) return drained && RepinZero();
    if (!outcome->busy) return false;  // a reader of the application is behind
    Pause(kForcedBusyRetry);
    if (Clock::now() >= deadline) return false;
    checkpointer_.StartCheckpoint(0);
  }
  return false;
}

}  // namespace runnel::publisher
