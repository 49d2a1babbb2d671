#include "subscriber/replica/replica.h"

#include <algorithm>
#include <string>

#include "ltx/base/check.h"
#include "ltx/base/crash_point.h"
#include "ltx/format/checksum.h"

namespace runnel::replica {
namespace {

// 16 MiB of (page, checksum); commits beyond read their later frames back instead.
constexpr size_t kPendingPagesMax = 1 << 20;

}  // namespace

Replica::~Replica() = default;

Checksum Replica::PageChecksumOf(Pgno pgno) const {
  return pgno.raw() == 0 || pgno.raw() > table_->page_count() ? Checksum(0) : table_->Get(pgno).checksum;
}

Status Replica::ReadPage(Pgno pgno, MutableBytes page) const {
  if (pgno.raw() == 0 || pgno.raw() > state_.page_count) {
    return Error(Errc::kNotFound, options_.path + ": has no page " + std::to_string(pgno.raw()));
  }
  return writer_->ReadPage(pgno, page);
}

// Nobody but us may have touched the WAL. A torn header (a client that died in it, a damaged -shm) is mended.
Status Replica::CheckUndisturbed() {
  if (writer_->Undisturbed()) return Ok();
  WalIdentity before = writer_->identity();
  TRY(writer_->Adopt());
  ++stats_.recoveries;
  synced_backfill_ = 0;
  if (writer_->identity().Matches(before)) return Ok();
  // An empty WAL has nothing to be recognised by, and one that was just reset comes back with its old, equivalent
  // frames.
  PositionRecord record = position_->record();
  TRY_ASSIGN(Checksum image, RebuildPageTable(state_.at.txid));
  if (image != state_.image) {
    broken_ = true;
    return Error(Errc::kConflict, options_.path + ": was written by another process while attached; attach again");
  }
  if (state_.exact) {
    record.lo.wal = record.hi.wal = writer_->identity();
    position_->Write(record);
  }
  return Ok();
}

// Starts the WAL over when all of it is in the database file and no reader needs it.
Status Replica::TryReset() {
  if (writer_->max_frame() == 0 || writer_->backfill() != writer_->max_frame()) return Ok();
  if (syncs() && synced_backfill_ < writer_->max_frame()) {
    // A client's checkpoint, perhaps with synchronous=OFF: its pages must be durable before their frames go.
    TRY(live_->SyncDb());
    synced_backfill_ = writer_->max_frame();
  }
  auto announce = [this](const WalIdentity& identity) {
    if (!state_.exact) return;  // the marks name other images
    PositionRecord record = position_->record();
    record.hi = record.lo;
    record.hi.wal = identity;
    position_->Write(record);
  };
  TRY_ASSIGN(bool reset, writer_->TryReset(announce, options_.wal_limit_bytes));
  if (!reset) return Ok();
  // `lo` keeps the identity of the old frames until the next commit: they come back if everybody dies before it.
  ++stats_.resets;
  synced_backfill_ = 0;
  next_pause_frame_ = 0;
  return Ok();
}

Status Replica::Begin(PageSize page_size) {
  CHECK(!in_commit_, "Begin within a commit");
  if (broken_) return Error(Errc::kConflict, options_.path + ": the page table does not match the image; attach again");
  if (page_size != state_.page_size) {
    return Error(Errc::kUnsupported, options_.path + ": has pages of " + std::to_string(state_.page_size.raw()) +
                                         " bytes and cannot take pages of " + std::to_string(page_size.raw()) +
                                         " in place; a new image is needed");
  }
  if (paused_) {
    return Error(Errc::kUnavailable, options_.path + ": the WAL has reached its limit of " +
                                         std::to_string(options_.wal_limit_bytes) +
                                         " bytes and a reader still needs it");
  }
  TRY(CheckUndisturbed());
  TRY(TryReset());
  TRY(writer_->Start(syncs()));
  in_commit_ = true;
  sum_ = table_->position().checksum;
  pages_added_ = 0;
  pgno_max_ = 0;
  pending_.clear();
  return Ok();
}

Status Replica::AddPage(Pgno pgno, Bytes page) {
  CHECK(in_commit_, "AddPage outside of a commit");
  Status added = Ok();
  if (page.size() != state_.page_size.raw() || pgno.raw() == 0 || pgno.raw() > kPgnoMax ||
      pgno == LockPage(state_.page_size)) {
    added = Error(Errc::kCorrupt, "page " + std::to_string(pgno.raw()) + " of " + std::to_string(page.size()) +
                                      " bytes cannot be part of a commit");
  } else {
    Checksum checksum = ltx::PageChecksum(pgno, page);
    sum_ = sum_.Toggle(PageChecksumOf(pgno)).Toggle(checksum);
    if (pending_.size() < kPendingPagesMax) pending_.emplace_back(pgno, checksum);
    ++pages_added_;
    pgno_max_ = std::max(pgno_max_, pgno.raw());
    added = writer_->Add(pgno, page);
  }
  if (!added.ok()) Abort();
  return added;
}

void Replica::Abort() {
  if (!in_commit_) return;
  // A finished commit that cannot be cut off is still the `hi` of the position file; the next commit must not overwrite
  // that.
  if (!writer_->Discard().ok()) broken_ = true;
  pending_.clear();
  in_commit_ = false;
}

Status Replica::Commit(const CommitPoint& point) {
  CHECK(in_commit_, "Commit outside of a commit");
  Status committed = TryCommit(point);
  if (!committed.ok()) {
    if (committed.code() == Errc::kCorrupt) ++stats_.refused_commits;
    Abort();
  }
  in_commit_ = false;
  return committed;
}

// Readers never go back: within a lineage positions only grow, and a replica that may stand as far as `attempted` gets
// there first. An image made by somebody else is no position, any will do.
Status Replica::CheckForward(const CommitPoint& point) const {
  bool new_lineage = point.lineage.has_value() && *point.lineage != state_.lineage;
  if (new_lineage || state_.foreign_write) return Ok();
  Position least = state_.exact ? state_.at : state_.attempted;
  if (point.post.txid >= least.txid) return Ok();
  return Error(Errc::kRefused,
               "commit to " + ToString(point.post) + " would take readers back from " + ToString(least));
}

// The pages added so far make, of the image as it is, exactly the image of `point`. A page added twice or missing shows
// too.
Status Replica::CheckPageSet(const CommitPoint& point) {
  if (point.page_count == 0 || pgno_max_ > point.page_count) {
    return Error(Errc::kCorrupt,
                 "commit of " + std::to_string(point.page_count) + " pages has page " + std::to_string(pgno_max_));
  }
  for (uint32_t pgno = point.page_count + 1; pgno <= table_->page_count(); ++pgno) {
    sum_ = sum_.Toggle(table_->Get(Pgno(pgno)).checksum);
  }
  if (sum_ != point.post.checksum) {
    return Error(Errc::kCorrupt, "commit to " + ToString(point.post) + " would make an image of checksum " +
                                     ToString(sum_) + "; the replica stays at " + ToString(state_.at));
  }
  return Ok();
}

Status Replica::TryCommit(const CommitPoint& point) {
  TRY(CheckForward(point));
  if (pages_added_ == 0 && point.page_count != table_->page_count()) {
    // The size travels in a frame, so there must be one.
    std::vector<std::byte> first(state_.page_size.raw());
    TRY(ReadPage(Pgno(1), first));
    TRY(writer_->Add(Pgno(1), first));
    pending_.emplace_back(Pgno(1), ltx::PageChecksum(Pgno(1), first));
    ++pages_added_;
  }
  TRY(CheckPageSet(point));
  ImageMark mark = position_->record().lo;
  mark.lineage = point.lineage.value_or(state_.lineage);
  mark.position = point.post;
  mark.page_count = point.page_count;
  mark.log_sequence = point.log_sequence;
  if (pages_added_ == 0) {
    mark.wal = writer_->identity();
    TRY(writer_->Discard());
    table_->SetPosition(mark.position, mark.page_count);
    Finished(mark);
    return Ok();
  }
  TRY(table_->Reserve(Pgno(point.page_count)));  // after Publish nothing may fail any more
  mark.wal = writer_->Seal(point.page_count);
  return Publish(mark);
}

Status Replica::Publish(const ImageMark& mark) {
  PositionRecord record = position_->record();
  record.clean = false;
  record.stamp = {.inode = inode_};
  if (state_.exact) record.lo.wal = writer_->identity();
  record.hi = mark;
  position_->Write(record);
  CrashPoint("apply_position_attempted");
  TRY(writer_->Finish());
  if (options_.sync == SyncMode::kFull) TRY(live_->SyncWal());
  bool same_wal = writer_->max_frame() > 0;
  uint32_t first_frame = same_wal ? writer_->max_frame() + 1 : 1;
  writer_->Publish();
  CrashPoint("apply_published");
  Status updated = UpdatePageTable(first_frame, mark);
  if (!updated.ok()) {
    broken_ = true;
    return updated.error().With("the commit is visible, but its frames cannot be read back; attach again");
  }
  CrashPoint("apply_table_updated");
  Finished(mark);
  CrashPoint("apply_done");
  return Ok();
}

Status Replica::UpdatePageTable(uint32_t first_frame, const ImageMark& mark) {
  Txid txid = mark.position.txid;
  for (size_t i = 0; i < pending_.size(); ++i) {
    if (i == pending_.size() / 2) CrashPoint("apply_table_partial");
    table_->Set(pending_[i].first, pending_[i].second, txid);
  }
  std::vector<std::byte> page(pages_added_ > pending_.size() ? state_.page_size.raw() : 0);
  for (uint32_t i = static_cast<uint32_t>(pending_.size()); i < pages_added_; ++i) {
    TRY_ASSIGN(Pgno pgno, writer_->PageOf(first_frame + i));
    TRY(writer_->ReadFrame(first_frame + i, page));
    table_->Set(pgno, ltx::PageChecksum(pgno, page), txid);
  }
  if (mark.page_count < table_->page_count()) table_->Truncate(mark.page_count, txid);
  table_->SetPosition(mark.position, mark.page_count);
  return Ok();
}

void Replica::Finished(const ImageMark& mark) {
  PositionRecord record = position_->record();
  record.clean = false;
  record.boot = boot_;
  record.page_size = state_.page_size;
  record.unsynced = !syncs();
  record.lo = record.hi = mark;
  if (options_.sync == SyncMode::kFull) record.durable = mark.position;
  position_->Write(record);
  SetExact(record, mark);
  ++stats_.commits;
  stats_.pages += pages_added_;
}

}  // namespace runnel::replica
