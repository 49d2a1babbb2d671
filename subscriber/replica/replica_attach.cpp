// Replica::Attach: who has the file, and where does its image stand?
//
// The position file names two images, lo and hi, each with the WAL that belongs to it. The WAL's identity says at once
// which one is there. If it names neither (everybody closed and SQLite deleted the WAL; a foreign write; power loss),
// the image is scanned and its checksum asked.
#include <algorithm>
#include <string>

#include "ltx/base/check.h"
#include "ltx/base/time.h"
#include "ltx/format/checksum.h"
#include "subscriber/replica/replica.h"

namespace runnel::replica {
namespace {

constexpr std::chrono::milliseconds kLockRetry{2};

}  // namespace

Result<std::unique_ptr<Replica>> Replica::Attach(const ReplicaOptions& options) {
  std::unique_ptr<Replica> replica(new Replica(options));  // private constructor
  TRY(replica->Connect());
  TRY(replica->TakeWriteLock());
  TRY(replica->writer_->Adopt());
  if (replica->position_ == nullptr) TRY(replica->RecoverPosition());
  TRY(replica->DetermineState());
  return replica;
}

Status Replica::Connect() {
  boot_ = CurrentBoot();
  std::string position_path = options_.path + "-runnel/position";
  if (!StampOf(position_path).known()) {
    return Error(Errc::kNotFound, options_.path + ": is no replica (there is no " + position_path + ")");
  }
  TRY_ASSIGN(side_, SideFiles::Lock(options_.path));
  Result<std::unique_ptr<PositionFile>> position = PositionFile::Open(side_->position());
  if (!position.ok() && position.code() != Errc::kCorrupt) return position.error();
  if (position.ok()) position_ = std::move(*position);
  if (!position.ok()) position_damage_ = position.error().message();
  Result<std::unique_ptr<sqlite::LiveDb>> live = sqlite::LiveDb::Open({.path = options_.path, .wait = options_.wait});
  if (!live.ok() && (live.code() == Errc::kRefused || live.code() == Errc::kCorrupt)) {
    return Error(Errc::kCorrupt, "what was a replica cannot be opened as one: " + live.error().message());
  }
  if (!live.ok()) return live.error();
  live_ = std::move(*live);
  inode_ = StampOf(options_.path).inode;
  writer_ = std::make_unique<WalWriter>(*live_);
  return Ok();
}

Status Replica::TakeWriteLock() {
  TimePoint deadline = std::chrono::steady_clock::now() + options_.wait;
  while (!live_->TryExclusive(sqlite::kLockWrite)) {
    if (std::chrono::steady_clock::now() >= deadline) {
      return Error(Errc::kUnavailable, options_.path +
                                           ": another process holds the write lock of the replica; "
                                           "a replica is for reading only");
    }
    Pause(kLockRetry);
  }
  return Ok();
}

// Both slots of the position file are damaged. The page table still proves, page by page, that this file is the image
// we left; of which lineage it is the log has to say.
Status Replica::RecoverPosition() {
  auto unproven = [&](const std::string& why) {
    return Error(Errc::kCorrupt, position_damage_ + ", and nothing else proves that this is our replica: " + why);
  };
  Result<std::unique_ptr<ltx::PageTable>> table = ltx::PageTable::Open(side_->pages());
  if (!table.ok() && table.code() != Errc::kCorrupt && table.code() != Errc::kNotFound) return table.error();
  if (!table.ok()) return unproven(table.error().message());
  const Position at = (*table)->position();
  TRY_ASSIGN(uint32_t page_count, ImagePages());
  TRY_ASSIGN(Checksum image, SumImage(page_count, nullptr, at.txid));
  bool proven = (*table)->page_size().raw() == live_->page_size() && (*table)->page_count() == page_count &&
                at.txid != Txid() && at.checksum == image;
  if (!proven) return unproven("the image has checksum " + ToString(image) + ", " + ToString(at) + " was left here");
  PositionRecord record;
  record.page_size = (*table)->page_size();
  record.boot = boot_;
  record.durable = at;
  record.lo = {LineageBytes{}, at, page_count, 0, writer_->identity()};
  record.hi = record.lo;
  TRY_ASSIGN(position_, PositionFile::Create(side_->position(), record));
  return Ok();
}

const ImageMark* Replica::FindMark(const PositionRecord& record, const WalIdentity& now) const {
  if (record.page_size.raw() != live_->page_size() || record.bootstrap) return nullptr;
  // After a power loss without any fsync the WAL can be whole and the database file behind it torn.
  if (record.unsynced && !record.clean && record.boot != boot_) return nullptr;
  // Another file in its place, or written without SQLite since it was laid down: the old WAL proves nothing then.
  const FileStamp file = StampOf(options_.path);
  if (record.stamp.known() && record.stamp.inode != file.inode) return nullptr;
  if (record.clean && record.stamp.at_rest() && record.stamp != file) return nullptr;
  if (record.hi.wal.Matches(now)) return &record.hi;
  if (record.lo.wal.Matches(now)) return &record.lo;
  if (now.max_frame == 0 && record.stamp.at_rest() && record.stamp == file) return &record.lo;
  return nullptr;
}

Status Replica::DetermineState() {
  PositionRecord record = position_->record();
  const ImageMark* mark = FindMark(record, writer_->identity());
  if (mark != nullptr) {
    TRY_ASSIGN(bool agrees, PageTableAgrees(record, *mark));
    if (!agrees) mark = nullptr;
  }
  if (mark == nullptr) {
    TRY(DetermineByScan(record));
  } else {
    SetExact(record, *mark);
  }
  // The mark of a commit that is in the WAL file but was not published is about to be forgotten.
  TRY(writer_->CutTail());
  if (state_.exact) {
    record.lo = {state_.lineage, state_.at, state_.page_count, state_.log_sequence, writer_->identity()};
    record.hi = record.lo;
    record.durable = state_.durable;
    record.page_size = state_.page_size;
    record.boot = boot_;
    bool was_clean = record.clean;
    record.clean = record.bootstrap = false;
    record.unsynced = !syncs();
    if (record.stamp.inode != inode_) record.stamp = {.inode = inode_};
    position_->Write(record);
    // Or a power loss would bring "clean" back and make our own commits look like somebody else's.
    if (was_clean && syncs()) TRY(position_->Sync());
  }
  if (!position_damage_.empty()) state_.note = position_damage_ + "; the page table proves the image";
  side_->MatchOwner(options_.path);
  return Ok();
}

// The page table describes the image of `mark`, or could be made to by the frames of the last commit.
Result<bool> Replica::PageTableAgrees(const PositionRecord& record, const ImageMark& mark) {
  Result<std::unique_ptr<ltx::PageTable>> opened = ltx::PageTable::Open(side_->pages());
  if (!opened.ok()) {
    if (opened.code() == Errc::kCorrupt || opened.code() == Errc::kNotFound) return false;
    return opened.error();
  }
  table_ = std::move(*opened);
  if (table_->page_size() != record.page_size) return false;
  auto agrees = [&] {
    return table_->position() == mark.position && table_->page_count() == mark.page_count && table_->Verify();
  };
  if (agrees()) return true;
  if (&mark != &record.hi || record.hi.wal.max_frame == 0) return false;
  TRY(RepairPageTable(record));
  return agrees();
}

// The process died between making `hi` visible and finishing its page table: its frames say what is missing.
Status Replica::RepairPageTable(const PositionRecord& record) {
  bool same_wal = sqlite::SameSalt(record.lo.wal.salt, record.hi.wal.salt);
  std::vector<std::byte> page(live_->page_size());
  Txid txid = record.hi.position.txid;
  TRY(table_->Reserve(Pgno(record.hi.page_count)));
  for (uint32_t frame = same_wal ? record.lo.wal.max_frame + 1 : 1; frame <= record.hi.wal.max_frame; ++frame) {
    TRY_ASSIGN(Pgno pgno, writer_->PageOf(frame));
    if (pgno.raw() > record.hi.page_count) continue;
    TRY(writer_->ReadFrame(frame, page));
    table_->Set(pgno, ltx::PageChecksum(pgno, page), txid);
  }
  uint32_t known = std::max(record.lo.page_count, table_->page_count());
  if (record.hi.page_count < known) table_->Truncate(record.hi.page_count, txid);
  table_->SetPosition(record.hi.position, record.hi.page_count);
  return Ok();
}

Result<uint32_t> Replica::ImagePages() const {
  if (writer_->page_count() != 0) return writer_->page_count();
  TRY_ASSIGN(uint64_t bytes, live_->DbBytes());
  return static_cast<uint32_t>(bytes / live_->page_size());
}

// A new page table from the bytes of the image. Returns the checksum of the image.
Result<Checksum> Replica::RebuildPageTable(Txid txid) {
  PageSize page_size(live_->page_size());
  TRY_ASSIGN(uint32_t page_count, ImagePages());
  table_.reset();
  TRY_ASSIGN(table_, ltx::PageTable::Create(side_->pages(), page_size));
  TRY(table_->Reserve(Pgno(std::max(page_count, 1u))));
  TRY_ASSIGN(Checksum sum, SumImage(page_count, table_.get(), txid));
  table_->SetPosition(Position{txid, sum}, page_count);
  return sum;
}

// The checksum of the image as it is; each page's goes into `table`, where there is one.
Result<Checksum> Replica::SumImage(uint32_t page_count, ltx::PageTable* table, Txid txid) const {
  PageSize page_size(live_->page_size());
  std::vector<std::byte> page(page_size.raw());
  Checksum sum = Checksum::Empty();
  for (uint32_t raw = 1; raw <= page_count; ++raw) {
    Pgno pgno(raw);
    if (pgno == LockPage(page_size)) continue;
    Status read = writer_->ReadPage(pgno, page);
    if (!read.ok() && read.code() != Errc::kCorrupt) return read.error();
    if (!read.ok()) continue;  // the file is cut short: a page that is not there has no entry, and the sum will show it
    Checksum checksum = ltx::PageChecksum(pgno, page);
    if (table != nullptr) table->Set(pgno, checksum, txid);
    sum = sum.Toggle(checksum);
  }
  return sum;
}

Status Replica::DetermineByScan(const PositionRecord& record) {
  TRY_ASSIGN(Checksum image, RebuildPageTable(record.hi.position.txid));
  TRY_ASSIGN(uint32_t page_count, ImagePages());
  for (const ImageMark* mark : {&record.hi, &record.lo}) {
    if (mark->position.checksum != image || mark->page_count != page_count) continue;
    table_->SetPosition(mark->position, page_count);
    SetExact(record, *mark);
    return Ok();
  }
  if (record.bootstrap) {
    return Error(Errc::kNotFound, options_.path + ": the last bootstrap did not get to its end; make the image again");
  }
  state_ = ReplicaState();
  state_.image = image;
  state_.page_count = page_count;
  if (image == record.durable.checksum) {
    ImageMark durable = record.lo;
    durable.position = record.durable;
    durable.page_count = page_count;
    durable.log_sequence = 0;
    table_->SetPosition(record.durable, page_count);
    SetExact(record, durable);
    return Ok();
  }
  DescribeUnknown(record);
  return Ok();
}

void Replica::SetExact(const PositionRecord& record, const ImageMark& mark) {
  state_.lineage = mark.lineage;
  state_.page_size = PageSize(live_->page_size());
  state_.page_count = mark.page_count;
  state_.log_sequence = mark.log_sequence;
  state_.exact = true;
  state_.at = state_.attempted = mark.position;
  state_.durable = record.durable;
  state_.image = mark.position.checksum;
  state_.foreign_write = false;
  state_.note.clear();
}

void Replica::DescribeUnknown(const PositionRecord& record) {
  state_.lineage = record.lo.lineage;
  state_.page_size = PageSize(live_->page_size());
  state_.log_sequence = 0;
  state_.exact = false;
  state_.at = state_.durable = record.durable;
  state_.attempted = record.hi.position;
  // Within one boot nothing that was stored can be lost, so an image that is neither lo nor hi was made by somebody
  // else.
  state_.foreign_write = record.clean || record.boot == boot_ || record.page_size.raw() != live_->page_size();
  std::string image = options_.path + ": the image has checksum " + ToString(state_.image);
  if (record.stamp.known() && record.stamp.inode != inode_) {
    state_.foreign_write = true;
    state_.note = image + ", but " + ToString(record.hi.position) + " was left here: another file has taken its place";
  } else if (state_.foreign_write) {
    state_.note = image + ", but " + ToString(record.lo.position) + " or " + ToString(record.hi.position) +
                  " was left here: another program has written the replica";
  } else {
    state_.note = image + ": after a power loss it stands somewhere behind " + ToString(record.durable) + ", up to " +
                  ToString(record.hi.position) + " or later";
  }
}

}  // namespace runnel::replica
