// A live replica: one SQLite file in WAL mode that stock clients read while commits are applied to it.
//
// Walk: Attach finds out where the image stands; then per visible commit Begin, AddPage..., Commit (or Abort); Maintain
// between commits; Detach.
//
// I1  What readers see is at every moment the image of one position: Commit computes the checksum of the image it is
//     about to show and refuses to show any other than the one asked for.
// I2  We hold the WAL's WRITE lock from Attach to Detach. No stock client can write the replica or start its WAL over,
//     and no client's blocking checkpoint can hold up a commit.
// I3  After a crash the state is told, never guessed: exact at one position, or somewhere in (durable, attempted], or
//     written by somebody else.
// I4  Memory is bounded whatever a commit's size: frames go to the WAL as they come.
//
// THREAD: one. LIFETIME: no other object of this process may close a descriptor on the replica's db, -wal or -shm
// files.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/page_table.h"
#include "ltx/format/types.h"
#include "ltx/sqlite/live/live_db.h"
#include "subscriber/replica/position_file.h"
#include "subscriber/replica/side_files.h"
#include "subscriber/replica/wal_writer.h"

namespace runnel::replica {

enum class SyncMode {
  kOff,     // never fsync: kill -9 loses nothing, power loss may cost the replica
  kNormal,  // fsync at checkpoints: power loss may take the replica back to `durable`, to be applied again
  kFull,    // fsync each commit
};

struct ReplicaOptions {
  std::string path;
  SyncMode sync = SyncMode::kNormal;
  // A WAL that grows beyond this, because readers keep it busy, makes Begin pause (kUnavailable) until it could be
  // started over.
  uint64_t wal_limit_bytes = uint64_t{64} << 20;
  // true: stay paused however long a reader sits there. false: after `pause_max` let the WAL grow and try again later.
  bool pause_at_wal_limit = false;
  std::chrono::milliseconds pause_max{200};
  uint32_t checkpoint_frames = 1000;
  // Checkpoint whatever is there after this long without a commit.
  std::chrono::milliseconds idle{200};
  // How long Attach waits for a client that has locked the file.
  std::chrono::milliseconds wait{5000};
};

struct ReplicaState {
  LineageBytes lineage{};  // zeros: not known, because the position file was damaged
  PageSize page_size;
  uint32_t page_count = 0;
  uint64_t log_sequence = 0;  // hint given with the commit `at`

  // The image is exactly `at`. If false, the image is one of (durable, attempted] or later, unless foreign_write says
  // that it is none at all: apply the union of all commits behind `durable` up to any position not before `attempted`
  // as one commit (the log's head is always right: what was attempted came from the log); Commit proves it.
  bool exact = false;
  Position at;
  Position durable;
  Position attempted;
  // Of the image as it is: the position in the log with this post-apply checksum, if any, is where it stands.
  Checksum image;

  // Somebody wrote the file while no subscriber had it: only pages from another source, chosen by comparing
  // PageChecksumOf, can bring it back.
  bool foreign_write = false;
  std::string note;  // one sentence for the log, empty when there is nothing to say
};

struct CommitPoint {
  Position post;
  uint32_t page_count = 0;
  uint64_t log_sequence = 0;
  std::optional<LineageBytes> lineage = std::nullopt;  // as before when not given
};

struct ScrubReport {
  uint32_t pages = 0;
  std::vector<Pgno> mismatches;
  bool wrapped = false;  // the last page was reached; the next call starts over
};

struct ReplicaStats {
  uint64_t commits = 0;
  uint64_t pages = 0;
  uint64_t refused_commits = 0;  // checksum mismatch
  uint64_t resets = 0;
  uint64_t checkpoints = 0;
  uint64_t checkpoints_busy = 0;
  uint64_t recoveries = 0;
  uint64_t pauses = 0;
  uint64_t pauses_given_up = 0;
  uint64_t repairs = 0;
  uint32_t wal_frames = 0;
  uint32_t wal_backfilled = 0;
  uint64_t wal_bytes = 0;
  bool paused = false;
};

class Replica {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;

  // A damaged position file is made again when the page table proves the image; the log then says its lineage.
  // Errors: kNotFound (no replica here, or a bootstrap that did not get to the end: make a new image); kRefused (kept
  // by another subscriber); kCorrupt (this cannot go on as the replica it was: nothing proves that it is ours, no
  // SQLite database any more, out of WAL mode: only a new image in its place helps); kUnavailable (locked by a client
  // for longer than `wait`); kIo, kExhausted.
  static Result<std::unique_ptr<Replica>> Attach(const ReplicaOptions& options);
  // Without Detach this is what kill -9 does: nothing is lost, nothing is synced.
  ~Replica();

  const ReplicaState& state() const { return state_; }

  // One visible commit. Errors of Begin: kUnsupported (another page size: make a new image); kUnavailable (paused at
  // the WAL limit: Maintain, then try again); kConflict (somebody else's write while attached: attach again). After any
  // error of AddPage or Commit the commit is aborted and the replica still shows its old position; the one exception
  // says "the commit is visible": the disk failed to read back a commit of more than a million pages, and every later
  // Begin is kConflict.
  Status Begin(PageSize page_size);
  Status AddPage(Pgno pgno, Bytes page);  // each page once, any order
  // Errors: kCorrupt when these pages do not lead to `point.post`; kRefused when that lies behind what readers may have
  // seen in this lineage. DURABLE: against the death of the process; against power loss as `sync` says. No AddPage at
  // all moves only the position (or, with another page_count, only the size).
  Status Commit(const CommitPoint& point);
  void Abort();

  // Of the current image; Checksum(0) for pages it does not have. A snapshot can be applied as the pages that differ.
  Checksum PageChecksumOf(Pgno pgno) const;
  // REQUIRES: page.size() == state().page_size. Errors: kNotFound beyond page_count; kIo; kCorrupt (file too short).
  Status ReadPage(Pgno pgno, MutableBytes page) const;

  // Checkpoints, wal limit, position fsync. Cheap when nothing is due: call it after each commit and when idle.
  Status Maintain(TimePoint now);

  // The next pages of the background scrub, against the page table: what readers see, and the database file under
  // frames that are in it already, which is what they will see once the WAL starts over.
  Result<ScrubReport> Scrub(uint32_t pages_max);
  // One of the two copies of a damaged page (frame and file) is right and takes the other's place, as Repair does it.
  // False: neither is.
  Result<bool> RepairFromCopy(Pgno pgno);
  // A page fetched again, as a commit that does not change the position. kCorrupt when it is not the page of the table.
  Status Repair(Pgno pgno, Bytes page);

  ReplicaStats stats() const;

  // Checkpoint as far as readers allow, everything synced, position marked clean.
  // DURABLE: the position. The object is only good for destruction afterwards.
  Status Detach();

 private:
  explicit Replica(const ReplicaOptions& options) : options_(options) {}

  // replica_attach.cpp
  Status Connect();
  Status TakeWriteLock();
  Status RecoverPosition();
  Status DetermineState();
  const ImageMark* FindMark(const PositionRecord& record, const WalIdentity& now) const;
  Result<bool> PageTableAgrees(const PositionRecord& record, const ImageMark& mark);
  Status RepairPageTable(const PositionRecord& record);
  Result<Checksum> RebuildPageTable(Txid txid);
  Result<Checksum> SumImage(uint32_t page_count, ltx::PageTable* table, Txid txid) const;
  Result<uint32_t> ImagePages() const;
  Status DetermineByScan(const PositionRecord& record);
  void SetExact(const PositionRecord& record, const ImageMark& mark);
  void DescribeUnknown(const PositionRecord& record);

  // replica.cpp
  Status CheckUndisturbed();
  Status TryReset();
  Status CheckForward(const CommitPoint& point) const;
  Status CheckPageSet(const CommitPoint& point);
  Status TryCommit(const CommitPoint& point);
  Status Publish(const ImageMark& mark);
  Status UpdatePageTable(uint32_t first_frame, const ImageMark& mark);
  void Finished(const ImageMark& mark);

  // replica_maintain.cpp
  Status Checkpoint(TimePoint now);
  Status HoldWalLimit(TimePoint now);
  Status SyncPosition(TimePoint now);
  Result<bool> IsRight(Pgno pgno, const Status& read, Bytes page) const;
  bool syncs() const { return options_.sync != SyncMode::kOff; }

  const ReplicaOptions options_;
  std::unique_ptr<SideFiles> side_;
  std::unique_ptr<PositionFile> position_;
  std::unique_ptr<ltx::PageTable> table_;
  std::unique_ptr<sqlite::LiveDb> live_;
  std::unique_ptr<WalWriter> writer_;
  ReplicaState state_;
  ReplicaStats stats_;
  BootId boot_{};
  uint64_t inode_ = 0;            // of the file at the replica's path
  std::string position_damage_;   // what was wrong with the position file, if anything
  bool broken_ = false;           // the page table no longer describes the image
  uint32_t synced_backfill_ = 0;  // frames of this WAL whose pages are durable in the database file

  // The commit being written.
  bool in_commit_ = false;
  Checksum sum_;
  uint32_t pages_added_ = 0;
  uint32_t pgno_max_ = 0;
  std::vector<std::pair<Pgno, Checksum>> pending_;  // bounded: later ones are computed again from their frames

  // Maintain.
  TimePoint last_commit_{};
  uint64_t commits_seen_ = 0;
  TimePoint next_checkpoint_{};
  TimePoint next_position_sync_{};
  bool paused_ = false;
  TimePoint pause_start_{};
  uint32_t next_pause_frame_ = 0;
  uint32_t scrub_next_ = 1;
};

}  // namespace runnel::replica
