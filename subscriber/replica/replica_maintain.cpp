// What a replica does between commits: checkpoints, the WAL limit, scrub and repair, and leaving in order.
#include <algorithm>
#include <string>

#include "ltx/base/check.h"
#include "ltx/base/crash_point.h"
#include "ltx/format/checksum.h"
#include "ltx/sqlite/wal_format.h"
#include "subscriber/replica/replica.h"

namespace runnel::replica {
namespace {

// A checkpoint that readers did not let move is tried again after this long.
constexpr std::chrono::milliseconds kCheckpointRetry{5};
// The durable position only bounds what is applied again after a power loss: one fsync a second is enough.
constexpr std::chrono::seconds kPositionSyncInterval{1};

}  // namespace

Status Replica::Maintain(TimePoint now) {
  CHECK(!in_commit_, "Maintain within a commit");
  if (commits_seen_ != stats_.commits) {
    commits_seen_ = stats_.commits;
    last_commit_ = now;
  }
  uint32_t frames = writer_->max_frame() - std::min(writer_->backfill(), writer_->max_frame());
  bool due = frames >= options_.checkpoint_frames || (frames > 0 && now - last_commit_ >= options_.idle);
  if (due && now >= next_checkpoint_) TRY(Checkpoint(now));
  return HoldWalLimit(now);
}

Status Replica::Checkpoint(TimePoint now) {
  TRY_ASSIGN(CheckpointOutcome outcome, writer_->Checkpoint(syncs()));
  if (outcome.busy) ++stats_.checkpoints_busy;
  if (outcome.frames == 0) {
    next_checkpoint_ = now + kCheckpointRetry;
    return Ok();
  }
  ++stats_.checkpoints;
  if (outcome.complete) synced_backfill_ = writer_->max_frame();
  return SyncPosition(now);
}

// REQUIRES: the WAL or the database file is durable up to the current image.
Status Replica::SyncPosition(TimePoint now) {
  if (!syncs() || !state_.exact || now < next_position_sync_) return Ok();
  next_position_sync_ = now + kPositionSyncInterval;
  PositionRecord record = position_->record();
  record.durable = state_.durable = state_.at;
  position_->Write(record);
  return position_->Sync();
}

// Readers that overlap for ever keep the WAL from starting over. Above the limit we stop appending, so that a
// checkpoint can catch up, new readers go to the database file, and the old ones leave.
Status Replica::HoldWalLimit(TimePoint now) {
  uint64_t bytes = sqlite::FrameOffset(writer_->max_frame() + 1, state_.page_size.raw());
  if (!paused_ && (bytes <= options_.wal_limit_bytes || writer_->max_frame() < next_pause_frame_)) return Ok();
  if (!paused_) {
    paused_ = true;
    pause_start_ = now;
    ++stats_.pauses;
  }
  TRY(Checkpoint(now));
  TRY(TryReset());
  if (writer_->max_frame() == 0) {
    paused_ = false;
  } else if (!options_.pause_at_wal_limit && now - pause_start_ >= options_.pause_max) {
    paused_ = false;
    ++stats_.pauses_given_up;
    next_pause_frame_ = writer_->max_frame() + writer_->max_frame() / 4;
  }
  return Ok();
}

Result<ScrubReport> Replica::Scrub(uint32_t pages_max) {
  ScrubReport report;
  std::vector<std::byte> page(state_.page_size.raw());
  for (uint32_t steps = 0; steps < pages_max && !report.wrapped; ++steps) {
    Pgno pgno(scrub_next_);
    report.wrapped = scrub_next_ >= state_.page_count;
    scrub_next_ = report.wrapped ? 1 : scrub_next_ + 1;
    if (pgno.raw() > state_.page_count || pgno == LockPage(state_.page_size)) continue;
    ++report.pages;
    TRY_ASSIGN(bool right, IsRight(pgno, writer_->ReadPage(pgno, page), page));
    TRY_ASSIGN(bool copied, writer_->IsCopied(pgno));
    if (right && copied) {
      TRY_ASSIGN(right, IsRight(pgno, writer_->ReadFilePage(pgno, page), page));
    }
    if (!right) report.mismatches.push_back(pgno);
  }
  return report;
}

// A page that cannot be read because the file is too short is wrong, too.
Result<bool> Replica::IsRight(Pgno pgno, const Status& read, Bytes page) const {
  if (!read.ok() && read.code() != Errc::kCorrupt) return read.error();
  return read.ok() && ltx::PageChecksum(pgno, page) == PageChecksumOf(pgno);
}

Result<bool> Replica::RepairFromCopy(Pgno pgno) {
  std::vector<std::byte> page(state_.page_size.raw());
  TRY_ASSIGN(bool right, IsRight(pgno, writer_->ReadPage(pgno, page), page));
  if (!right) {
    TRY_ASSIGN(right, IsRight(pgno, writer_->ReadFilePage(pgno, page), page));
  }
  if (right) TRY(Repair(pgno, page));
  return right;
}

Status Replica::Repair(Pgno pgno, Bytes page) {
  if (page.size() != state_.page_size.raw() || pgno.raw() == 0 || pgno.raw() > state_.page_count ||
      ltx::PageChecksum(pgno, page) != PageChecksumOf(pgno)) {
    return Error(Errc::kCorrupt, "page " + std::to_string(pgno.raw()) + " is not the page of " + ToString(state_.at));
  }
  if (!state_.exact) return Error(Errc::kConflict, options_.path + ": stands at no exact position, nothing to repair");
  TRY(Begin(state_.page_size));
  TRY(AddPage(pgno, page));
  TRY(Commit({.post = state_.at, .page_count = state_.page_count, .log_sequence = state_.log_sequence}));
  ++stats_.repairs;
  return Ok();
}

ReplicaStats Replica::stats() const {
  ReplicaStats stats = stats_;
  stats.wal_frames = writer_->max_frame();
  stats.wal_backfilled = std::min(writer_->backfill(), writer_->max_frame());
  stats.wal_bytes = sqlite::FrameOffset(writer_->max_frame() + 1, state_.page_size.raw());
  stats.recoveries += writer_->recoveries();
  stats.paused = paused_;
  return stats;
}

Status Replica::Detach() {
  CHECK(!in_commit_, "Detach within a commit");
  if (state_.exact && !broken_) {
    TRY_ASSIGN(CheckpointOutcome outcome, writer_->Checkpoint(true));
    TRY(live_->SyncWal());
    TRY(live_->SyncDb());
    TRY(table_->Sync());
    CrashPoint("detach_synced");
    PositionRecord record = position_->record();
    record.clean = true;
    record.durable = state_.durable = state_.at;
    record.lo.wal = record.hi.wal = writer_->identity();
    // The file alone is the image only when no frame is missing in it.
    record.stamp = outcome.complete ? StampOf(options_.path) : FileStamp{.inode = inode_};
    position_->Write(record);
    TRY(position_->Sync());
  }
  live_->UnlockExclusive(sqlite::kLockWrite);
  return Ok();
}

}  // namespace runnel::replica
