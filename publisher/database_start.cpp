// The start of a published database: what the log, the page table and the WAL say decides how it goes on
// (start_plan.h), and whatever has to be sent first (a snapshot, a delta) is sent here.
#include <sys/stat.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/crash_point.h"
#include "ltx/base/fs.h"
#include "ltx/base/log.h"
#include "ltx/base/progress.h"
#include "ltx/format/checksum.h"
#include "ltx/sqlite/db_header.h"
#include "publisher/database.h"
#include "publisher/table_owner.h"

namespace runnel::publisher {
namespace {

// How far back from the log's tail its last commit is looked for.
constexpr uint32_t kTailStepsMax = 10000;
// A small image is sent before anybody wonders.
constexpr uint32_t kProgressPages = 4096;

bus::CaptureTime Now() { return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now()); }

}  // namespace

Status DatabasePublisher::Open(std::stop_token stop) {
  struct stat st {};
  if (::stat(config_.path.c_str(), &st) != 0) {
    if (errno != ENOENT) return ErrnoError(errno, config_.path);
    return Error(Errc::kNotFound,
                 config_.path + ": no such database file; check the path, or let the application create it first");
  }
  inode_ = st.st_ino;
  CaptureOptions options = config_.capture;
  options.path = config_.path;
  options.drain = [this](std::chrono::steady_clock::time_point deadline) { return DrainFor(deadline); };
  TRY_ASSIGN(capture_, Capture::Open(options, hub_));
  TRY(LockState());
  builder_ = std::make_unique<LtxBuilder>(capture_->page_size());
  TRY_ASSIGN(backlog_, Backlog::Open(state_dir_, config_.backlog_bytes_max));
  TRY(LoadTable());
  TRY_ASSIGN(log_, bus::OpenLog(config_.bus_url, config_.bus));
  if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped");
  return Ok();
}

// The page table and the backlog are one publisher's. Two on one database would also fence each other for ever.
Status DatabasePublisher::LockState() {
  if (lock_) return Ok();
  TRY(CreateDirs(state_dir_));
  Result<FileLock> lock = FileLock::Acquire(state_dir_ + "/lock");
  if (!lock.ok() && lock.code() == Errc::kConflict) {
    return Error(Errc::kRefused, config_.path + ": is being published already (" + lock.error().message() +
                                     "); stop that publisher first");
  }
  if (!lock.ok()) return lock.error();
  lock_ = std::move(*lock);
  return Ok();
}

Status DatabasePublisher::LoadTable() {
  Result<std::unique_ptr<ltx::PageTable>> table = ltx::PageTable::Open(state_dir_ + "/pages");
  if (!table.ok()) {
    if (table.code() == Errc::kNotFound) return Ok();
    if (table.code() != Errc::kCorrupt) return table.error();
    Log(Level::kWarn, "page_table_unusable", {{"db", config_.name}, {"err", table.error().message()}});
    return Ok();
  }
  if ((*table)->position().txid == Txid() || (*table)->page_size() != capture_->page_size()) return Ok();
  TableOwner owner = LoadOwner(**table);
  lineage_ = owner.lineage;
  epoch_ = bus::Epoch(owner.epoch);
  change_counter_ = owner.change_counter;
  ledger_ = std::make_unique<PageLedger>(std::move(*table));
  return Ok();
}

// Of the log, in which our last leadership is known to have been.
Result<LogHead> DatabasePublisher::ReadHead() { return ReadLogHead(*log_, {lineage_, epoch_}); }

Status DatabasePublisher::Start(std::stop_token stop) {
  TRY(log_->Create());
  SenderOptions options;
  options.database = config_.name;
  options.node = node_;
  options.page_size = capture_->page_size();
  options.on_progress = [capture = capture_.get()] { capture->Wake(); };
  sender_ = std::make_unique<Sender>(*log_, options);

  TRY_ASSIGN(LogHead head, ReadHead());
  bool ours = ledger_ != nullptr && !head.empty && head.lineage == lineage_;
  if (ours && head.epoch > epoch_) {
    // Who was killed between a takeover and noting it here has published nothing yet; nor has a rival, then.
    TRY_ASSIGN(ours, NothingPublishedSince(*log_, head, epoch_));
    if (ours) epoch_ = head.epoch;
  }
  if (ours && !config_.new_lineage && head.position.txid != Txid()) {
    TRY_ASSIGN(bool sent, SendBacklog(head, stop));
    if (sent) {
      TRY_ASSIGN(head, ReadHead());
    }
  }
  StartFacts facts;
  facts.head = head;
  facts.page_size = capture_->page_size();
  facts.new_lineage = config_.new_lineage;
  if (ledger_ != nullptr) facts.table = TableFacts{lineage_, epoch_, ledger_->table().position()};
  StartPlan plan = PlanStart(facts);
  Log(Level::kInfo, "publisher_starts",
      {{"db", config_.name}, {"log_position", ToString(head.position)}, {"reason", plan.reason}});
  return StartWith(plan, head, stop);
}

Status DatabasePublisher::StartWith(const StartPlan& plan, const LogHead& head, std::stop_token stop) {
  switch (plan.action) {
    case StartAction::kRefuse: return Error(Errc::kRefused, config_.path + ": " + plan.reason);
    case StartAction::kNewLineage: {
      ledger_.reset();
      return PublishSnapshot(head, bus::Lineage::Random(), Txid(1), stop);
    }
    case StartAction::kSnapshotAgain: {
      return PublishSnapshot(head, lineage_, SkipLostTxids(ledger_->table().position().txid), stop);
    }
    case StartAction::kAdopt: return Adopt(head, stop);
    case StartAction::kRollForward: {
      TRY(RollForward(head, stop));
      return ContinueFrom(head, stop);
    }
    case StartAction::kContinue: return ContinueFrom(head, stop);
    case StartAction::kCompareFrom: {
      bool exact = ledger_->table().Verify();
      if (!exact) {
        TRY_ASSIGN(exact, EnsureTable(head, stop));
      }
      return exact ? CompareImage(head, stop) : Adopt(head, stop);
    }
  }
  return Ok();
}

// No page table, or one that does not lead to the log's head: only an image that is exactly the log's may go on with
// it. Until that is known, what is beside the database stays as it is: it may belong to another log.
Status DatabasePublisher::Adopt(const LogHead& head, std::stop_token stop) {
  TRY_ASSIGN(ImagePin image, capture_->PinImage());
  PageSize page_size = capture_->page_size();
  TRY_ASSIGN(std::unique_ptr<ltx::PageTable> table, ltx::PageTable::Create(DraftTablePath(), page_size));
  TRY(table->Reserve(Pgno(std::max(image.page_count, uint32_t{1}))));
  std::vector<std::byte> page(page_size.raw());
  Checksum sum = Checksum::Empty();
  uint32_t counter = 0;
  for (uint32_t raw = 1; raw <= image.page_count; ++raw) {
    Pgno pgno(raw);
    if (pgno == LockPage(page_size)) continue;
    TRY(capture_->ReadImagePage(pgno, page));
    Checksum checksum = ltx::PageChecksum(pgno, page);
    table->Set(pgno, checksum, head.position.txid);
    sum = sum.Toggle(checksum);
    if (raw == 1) counter = sqlite::ChangeCounterOf(page);
  }
  if (sum != head.position.checksum) {
    TRY(RemoveFile(DraftTablePath()));
    return Error(Errc::kRefused,
                 config_.path + ": the log is at " + ToString(head.position) + ", this database's checksum is " +
                     ToString(sum) +
                     ": another database, or another state of it; if it shall replace the log's history, "
                     "say so with --new-lineage");
  }
  table->SetPosition(head.position, image.page_count);
  StoreOwner(*table, {head.lineage, head.epoch.raw(), head.position.txid.raw(), image.at, inode_, counter});
  TRY(UseDraftTable(std::move(table)));
  lineage_ = head.lineage;
  change_counter_ = counter;
  TRY(backlog_->Clear());
  Log(Level::kInfo, "log_adopted", {{"db", config_.name}, {"position", ToString(head.position)}});
  return Lead(head, stop);
}

Result<std::optional<WalPosition>> DatabasePublisher::WalPositionOf(const LogHead& head) {
  TableOwner owner = LoadOwner(ledger_->table());
  if (owner.txid == head.position.txid.raw()) return std::optional(owner.wal);
  return ReadLastWalPosition(*log_, head, kTailStepsMax);
}

Status DatabasePublisher::ContinueFrom(const LogHead& head, std::stop_token stop) {
  TRY_ASSIGN(bool exact, EnsureTable(head, stop));
  if (!exact) return Adopt(head, stop);  // nothing proves which pages changed
  TRY_ASSIGN(std::optional<WalPosition> at, WalPositionOf(head));
  if (at) {
    TRY_ASSIGN(bool resumed, capture_->ResumeAt(*at, ledger_->page_count()));
    if (resumed) {
      Log(Level::kInfo, "wal_continues",
          {{"db", config_.name}, {"position", ToString(head.position)}, {"frame", uint64_t{at->frame}}});
      return Lead(head, stop);
    }
  }
  return CompareImage(head, stop);
}

// The WAL no longer holds the point: commits were made and checkpointed while we were away, or the log lost its end.
// What differs from the table, or changed behind the head, is published as one delta.
Status DatabasePublisher::CompareImage(const LogHead& head, std::stop_token stop) {
  TRY_ASSIGN(ImagePin image, capture_->PinImage());
  PageSize page_size = capture_->page_size();
  const ltx::PageTable& table = ledger_->table();
  CommitFrames changed;
  changed.end = image.at;
  changed.page_count = image.page_count;
  std::vector<std::byte> page(page_size.raw());
  Checksum sum = Checksum::Empty();
  uint32_t counter = 0;
  for (uint32_t raw = 1; raw <= image.page_count; ++raw) {
    Pgno pgno(raw);
    if (pgno == LockPage(page_size)) continue;
    TRY(capture_->ReadImagePage(pgno, page));
    Checksum checksum = ltx::PageChecksum(pgno, page);
    ltx::PageEntry known = table.Get(pgno);
    sum = sum.Toggle(checksum);
    if (raw > table.page_count() || known.checksum != checksum || known.txid > head.position.txid) {
      changed.pages.push_back({pgno, 0});
    }
    if (raw == 1) counter = sqlite::ChangeCounterOf(page);
  }
  bool same = changed.pages.empty() && image.page_count == table.page_count() && table.position() == head.position;
  if (!same) {
    TableOwner owner = LoadOwner(ledger_->table());
    if (counter < owner.change_counter || (owner.inode != 0 && owner.inode != inode_)) {
      return Error(Errc::kRefused,
                   config_.path + ": is not what was published up to " + ToString(head.position) + " (checksum now " +
                       ToString(sum) +
                       (counter < owner.change_counter ? ", an older copy" : ", the file was replaced") +
                       "); if it shall replace the log's history, say so with --new-lineage");
    }
  }
  change_counter_ = counter;
  TRY(Lead(head, stop));
  if (same) {
    Log(Level::kInfo, "image_unchanged", {{"db", config_.name}, {"position", ToString(head.position)}});
    return Ok();
  }
  LtxSpec spec;
  spec.min_txid = head.position.txid.Next();
  spec.max_txid = spec.min_txid;
  const Txid taken = std::max(table.position().txid, taken_txid_);
  if (taken > head.position.txid) spec.max_txid = SkipLostTxids(taken);
  spec.pre_apply_checksum = head.position.checksum;
  spec.post_apply_checksum = sum;
  spec.captured_at = Now();
  ++stats_.deltas;
  Log(Level::kWarn, "delta_published",
      {{"db", config_.name},
       {"from", ToString(head.position)},
       {"max_txid", ToString(spec.max_txid)},
       {"pages", uint64_t{changed.pages.size()}}});
  auto read = [&](const PageSource& source) -> Result<Bytes> {
    TRY(capture_->ReadImagePage(source.pgno, page));
    return Bytes(page);
  };
  TRY(PublishLtx(*sender_, spec, changed, bus::Origin::kDelta, read, stop));
  return sender_->Flush(stop);
}

Status DatabasePublisher::PublishSnapshot(const LogHead& head, const bus::Lineage& lineage, Txid txid,
                                          std::stop_token stop) {
  TRY_ASSIGN(ImagePin image, capture_->PinImage());
  TRY_ASSIGN(std::unique_ptr<ltx::PageTable> table,
             ltx::PageTable::Create(state_dir_ + "/pages", capture_->page_size()));
  lineage_ = lineage;
  spiller_.reset();
  journal_.reset();
  taken_txid_ = std::max(taken_txid_, txid);
  TRY(backlog_->Clear());
  ledger_ = std::make_unique<PageLedger>(std::move(table));
  TRY(sender_->Lead(head, lineage_, epoch_, Position(), stop));
  epoch_ = sender_->epoch();
  LtxSpec spec;
  spec.min_txid = Txid(1);
  spec.max_txid = txid;
  TRY(SendImage(image, spec, stop));
  ++stats_.snapshots;
  Log(Level::kInfo, "snapshot_published",
      {{"db", config_.name},
       {"lineage", ToString(lineage_)},
       {"position", ToString(ledger_->position())},
       {"pages", image.page_count}});
  return Ok();
}

// All pages of the pinned image as one LTX. With the position it already has (spec.post_apply_checksum) the ledger
// stays as it is.
Status DatabasePublisher::SendImage(const ImagePin& image, LtxSpec spec, std::stop_token stop) {
  PageSize page_size = capture_->page_size();
  CommitFrames all;
  all.end = image.at;
  all.page_count = image.page_count;
  all.pages.reserve(image.page_count);
  for (uint32_t raw = 1; raw <= image.page_count; ++raw) {
    if (Pgno(raw) != LockPage(page_size)) all.pages.push_back({Pgno(raw), 0});
  }
  spec.captured_at = Now();
  std::vector<std::byte> page(page_size.raw());
  Progress progress("snapshot", ProgressUnit::kBytes, uint64_t{image.page_count} * page_size.raw());
  auto read = [&](const PageSource& source) -> Result<Bytes> {
    TRY(capture_->ReadImagePage(source.pgno, page));
    const uint64_t pgno = source.pgno.raw();
    if (pgno % kProgressPages == 0) progress.Set(pgno * page_size.raw());
    if (source.pgno == Pgno(1)) change_counter_ = sqlite::ChangeCounterOf(page);
    return Bytes(page);
  };
  TRY(PublishLtx(*sender_, spec, all, bus::Origin::kSnapshot, read, stop));
  return sender_->Flush(stop);
}

Status DatabasePublisher::Lead(const LogHead& head, std::stop_token stop) {
  TRY(sender_->Lead(head, lineage_, epoch_, head.position, stop));
  epoch_ = sender_->epoch();
  CrashPoint("publisher_took_over");
  ++stats_.leaderships;
  referred_ = Position();  // whether the last reference got there is not known
  TableOwner owner = LoadOwner(ledger_->table());
  owner.lineage = lineage_;
  owner.epoch = epoch_.raw();
  StoreOwner(ledger_->table(), owner);
  // After a power cut an older epoch here would read as a rival's leadership. What the table says of pages need not be
  // durable: EnsureTable.
  return ledger_->table().Sync();
}

}  // namespace runnel::publisher
