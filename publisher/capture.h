// Captures the commits of one SQLite database that somebody else writes, exactly and in order, without a write, a table
// or a write lock in the steady state. Two stock connections: one whose raw locks are the pins and whose handle is read
// through, one that checkpoints in a worker.
//
// Invariants:
//   I1  At every instant one pin is held under which everything committed behind the released position stays in the
//       WAL. A pin on slots 1..4 keeps the whole WAL; slot 0 is taken only when the released position is the mx_frame
//       it pins.
//   I2  A new pin is held before the old one goes.
//   I3  Slot 0 is left only with the CKPT lock in hand (or when its holder cannot be a stale PASSIVE): while we are
//       attached an application cannot fall into SQLite's WAL-reset bug.
//   I4  We checkpoint only with a pin on 1..4.
//
// Use, on one thread: Open; ResumeAt or PinImage; then a loop of Step, Next until nullopt, Released as acknowledgements
// come, Wait. Only Wake may be called from other threads.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/sqlite/live/live_db.h"
#include "publisher/capture_types.h"
#include "publisher/checkpointer.h"
#include "publisher/finish_line.h"
#include "publisher/pin_policy.h"
#include "publisher/wake_hub.h"
#include "publisher/wal_pin.h"
#include "publisher/wal_tail.h"

namespace runnel::publisher {

enum class Detect { kAuto, kInotify, kPoll };

struct CaptureOptions {
  std::string path;
  std::chrono::milliseconds open_wait{5000};
  Detect detect = Detect::kAuto;
  // WAL size in frames from which we checkpoint; nullopt: never, and never force.
  std::optional<uint32_t> checkpoint_frames = 800;  // below the application's own 1000
  std::chrono::milliseconds checkpoint_idle{500};
  // WAL size from which a checkpoint that a saturated writer keeps from ending is finished under the write lock.
  uint64_t wal_limit_bytes = uint64_t{64} << 20;
  std::chrono::microseconds force_hold_max{5000};
  // Called while finishing by force (with a backlog before, then with the write lock held), from Step, on its thread:
  // read all that Next gives, get it durable elsewhere, call Released, and say whether that is done before the
  // deadline. Unset: no forced finish.
  std::function<bool(Clock::time_point deadline)> drain = {};
  // How long a commit-free busy CKPT lock keeps us on slot 0 (I3); 0 switches the shield off.
  std::chrono::microseconds shield{1000};
  // Between looks at a writer that never pauses; beside slower ones than 12,500/s it is less, at 2,500/s a fifth of it.
  std::chrono::microseconds hot_rest_max{4000};
};

struct CaptureStats {
  uint64_t commits = 0;
  uint64_t wal_resets = 0;  // times reading went over to a new WAL
  uint64_t pins_zero = 0;
  uint64_t pins_mark = 0;
  uint64_t pins_nomark = 0;
  uint64_t pins_shared = 0;  // on the mark of an application's reader
  uint64_t pins_failed = 0;
  uint64_t shield_waits = 0;
  uint64_t checkpoints = 0;
  uint64_t checkpoints_busy = 0;
  uint64_t checkpoints_behind_reader = 0;
  uint64_t checkpoints_failed = 0;
  uint64_t finished = 0;           // let go behind a checkpoint of a hot writer
  uint64_t finish_given_up = 0;    // times that did not come about
  uint64_t forced = 0;             // write lock held to finish a checkpoint
  uint64_t forced_unfinished = 0;  // held in vain
  uint64_t forced_refused = 0;     // not even tried: not drained, or the lock was not to be had
  uint64_t hold_us_total = 0;
  uint64_t hold_us_max = 0;
  uint64_t recoveries = 0;         // torn wal-index headers given to SQLite
  uint64_t unverified_frames = 0;  // committed frames without checksum
  uint64_t gaps = 0;
  uint64_t wal_bytes_max = 0;
  uint32_t wal_frames = 0;
  uint32_t backfill_frames = 0;
  PinKind pin = PinKind::kNone;
  std::string checkpoint_error;  // of the last failed checkpoint
};

class Capture {
 public:
  // Errors: those of LiveDb::Open; kUnsupported when inotify is demanded and not to be had.
  // LIFETIME: the hub outlives the capture. ENSURES: the first pin is held.
  static Result<std::unique_ptr<Capture>> Open(const CaptureOptions& options, WakeHub& hub);
  ~Capture();
  Capture(const Capture&) = delete;
  Capture& operator=(const Capture&) = delete;

  PageSize page_size() const { return PageSize(locks_->page_size()); }

  // One of these two must succeed before Next. Both set the read and the released position.
  //
  // True when the WAL still holds that committed point: then everything behind it can be read. Proof is the cumulative
  // checksum in its frame, or without one salts, place and commit mark.
  Result<bool> ResumeAt(const WalPosition& position, uint32_t page_count);
  // Pins the image of now. kTimeout: no exact pin to be had.
  Result<ImagePin> PinImage();
  // A page of the pinned image. REQUIRES: out is one page; 1 <= pgno <= its page_count; no Step or Next since PinImage.
  Status ReadImagePage(Pgno pgno, MutableBytes out);

  // The next commit behind the read position, nullopt when there is none yet. Errors: kGap (the WAL does not continue
  // our position: PinImage), kCorrupt, kIo.
  Result<std::optional<CommitFrames>> Next();
  // A page of the commit Next gave last. LIFETIME: until the next call of Page or Next.
  Result<Bytes> Page(const PageSource& source) { return tail_.Page(source); }
  // Back to a position not before the released one.
  void Rewind(const WalPosition& position, uint32_t page_count);
  // Everything up to here is durable elsewhere. Goes back only right after a PinImage whose image is not used.
  void Released(const WalPosition& position) { released_ = position; }

  // Pin and checkpoint policy: once every turn of the loop. Errors: kRefused (the database file or its WAL was
  // replaced), kIo.
  Status Step();
  // Sleeps until there may be something to do, at most until `latest`.
  void Wait(Clock::time_point latest);
  void Wake() { wake_->Notify(WakeHub::kWake); }  // THREAD: any

  // DURABLE: when it returns, the WAL as read so far.
  Status SyncWal() { return locks_->SyncWal(); }

  bool hot() const { return hot_; }
  // The WAL of a hot writer is to be let go behind its own checkpoint, which is expected within that time: what is
  // committed had better be released by then.
  bool finish_awaited(std::chrono::nanoseconds within) const {
    return finish_line_.awaited() && frame_time_ * finish_line_.frames_left() <= within;
  }
  // Of the last Step.
  uint32_t wal_frames() const { return seen_frame_; }
  uint32_t backfill_frames() const { return seen_backfill_; }
  CaptureStats stats() const;

 private:
  // The WAL `next_salt` continues exactly at `end`: seen when slot 0 was left after a reset.
  struct Continuation {
    WalPosition end;
    uint32_t next_salt[2] = {0, 0};
    bool known = false;
  };
  struct FileId {
    uint64_t device = 0;
    uint64_t inode = 0;
    bool operator==(const FileId&) const = default;
  };

  Capture(const CaptureOptions& options, std::unique_ptr<sqlite::LiveDb> locks,
          std::unique_ptr<sqlite::LiveDb> checkpoints, WakeHub& hub);

  // capture.cpp: positions
  Status FirstPin();
  Status RetryPin(const std::function<bool()>& attempt);
  Result<std::optional<WalPosition>> FindCommit(const WalPosition& position, uint32_t page_count);
  bool TryPinImage(ImagePin& image);
  Result<uint32_t> PageCountOf(const sqlite::WalIndexHeader& header);
  bool Continues(const sqlite::WalIndexHeader& header) const;
  Error Gap(std::string what);
  Status RefreshLimit();
  void StartAt(const WalPosition& position, uint32_t page_count);

  // capture_step.cpp: policy
  Status CheckFiles(Clock::time_point now);
  void StepTorn(Clock::time_point now);
  void NoteActivity(const sqlite::WalIndexHeader& header, Clock::time_point now);
  void NotePace(const sqlite::WalIndexHeader& header, bool same_wal, Clock::time_point now);
  bool ReleasedAll(const sqlite::WalIndexHeader& header) const;
  PinFacts GatherPinFacts(const sqlite::WalIndexHeader& header) const;
  void StepPin(const sqlite::WalIndexHeader& header, Clock::time_point now);
  bool Repin(PinKind kind);
  bool RepinZero();
  bool LeaveZero(PinKind kind, Clock::time_point now);
  CheckpointFacts GatherCheckpointFacts(const sqlite::WalIndexHeader& header, Clock::time_point now) const;
  void StepCheckpoint(Clock::time_point now);
  void MoveMark();
  uint64_t UnreleasedFrames() const;
  bool ForceFinish();
  bool FinishUnderWriteLock(Clock::time_point deadline);

  // capture_wait.cpp: sleeping
  bool SomethingToRead(const sqlite::WalIndexHeader& header) const;
  bool FinishLineNear(Clock::time_point now) const;
  std::chrono::nanoseconds HotRest() const;
  void WaitForFinish(Clock::time_point latest);
  bool WaitForSeenWrite(Clock::time_point now);
  void SleepArmed(Clock::time_point now, Clock::time_point latest);
  uint64_t PendingFrame(const sqlite::WalIndexHeader& header) const;
  void SleepFor(std::chrono::nanoseconds time, Clock::time_point latest);
  void TakeEvents();

  const CaptureOptions options_;
  const bool poll_;
  FileId db_id_;
  FileId wal_id_;
  std::unique_ptr<WakeHub::Client> wake_;
  std::unique_ptr<sqlite::LiveDb> locks_;  // pins and reads; runs no SQL
  PinHolder pins_;
  WalTail tail_;
  Checkpointer checkpointer_;
  CheckpointPolicy checkpoint_policy_;
  FinishLine finish_line_;
  CaptureStats stats_;

  WalPosition released_;
  Continuation continuation_;
  bool reached_end_ = false;  // the last Next gave nothing
  std::optional<sqlite::WalIndexHeader> image_;
  std::vector<PageSource> image_frames_;  // by page number

  // What Step has seen, for policy and Wait.
  bool hot_ = false;
  int fast_turns_ = 0;
  std::chrono::nanoseconds commit_time_{0};  // between two commits
  std::chrono::nanoseconds frame_time_{0};   // between two frames
  uint32_t seen_change_ = 0;
  uint32_t seen_salt_[2] = {0, 0};
  uint32_t seen_frame_ = 0;
  uint32_t seen_backfill_ = 0;
  bool backfilled_ = false;
  Clock::time_point last_commit_{};
  Clock::time_point backfill_moved_{};
  Clock::time_point torn_since_{};
  Clock::time_point next_pin_try_{};
  Clock::time_point next_file_check_{};
  Clock::time_point shield_since_{};
  uint32_t shield_frame_ = 0;
  bool forcing_ = false;

  // Wait.
  Clock::time_point wal_written_{};  // a write was seen whose commit is not in the wal-index yet
  Clock::time_point db_written_{};
  Clock::time_point pending_since_{};
  uint64_t pending_seen_ = 0;
  bool slack_set_ = false;
  std::optional<bool> yielding_;  // as this thread was told; nullopt: as it was started
};

}  // namespace runnel::publisher
