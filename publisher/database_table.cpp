// A page table that is not the one of the log's head: the log itself says what is missing. The table is behind when we
// were killed between an ack and its note. After a power cut it can be a mixture of old and new, because nobody syncs
// it on the hot path: then it is made anew from the log's newest snapshot. One pass over the log; a large LTX goes
// through a file, because only its last chunk says that it is whole.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bus/chunk_reader.h"
#include "bus/epoch_fence.h"
#include "bus/find.h"
#include "ltx/base/bytes.h"
#include "ltx/base/fs.h"
#include "ltx/base/log.h"
#include "ltx/format/checksum.h"
#include "ltx/format/decoder.h"
#include "ltx/sqlite/db_header.h"
#include "publisher/database.h"
#include "publisher/table_owner.h"

namespace runnel::publisher {
namespace {

constexpr std::chrono::seconds kNextWait{10};
constexpr size_t kCopyBytes = 256 << 10;

// A scratch file, read from its beginning.
class ScratchSource : public ltx::ByteSource {
 public:
  explicit ScratchSource(const File& file) : file_(file) {}
  Result<size_t> Read(MutableBytes out) override {
    TRY_ASSIGN(const size_t got, file_.ReadAt(read_, out));
    read_ += got;
    return got;
  }

 private:
  const File& file_;
  uint64_t read_ = 0;
};

// Moves a page table over the LTX files of a log.
class TableMover {
 public:
  TableMover(ltx::PageTable& table, std::string scratch) : table_(table), scratch_(std::move(scratch)) {}

  // To the head, or to the end of the log if nothing leads there. Errors: kCorrupt, those of the log.
  Status Read(bus::LogReader& reader, const LogHead& head, const std::stop_token& stop) {
    bus::StreamSeq seq;
    std::optional<bus::Message> next;
    while (table_.position().txid < head.position.txid && (next || seq < head.tail_seq)) {
      if (!next) {
        TRY_ASSIGN(next, reader.Next(DeadlineIn(kNextWait), stop));
      }
      bus::Message message = std::move(*next);
      next.reset();
      seq = message.seq;
      Result<bus::Envelope> decoded = bus::Decode(message.payload);
      if (!decoded.ok() && decoded.code() == Errc::kCorrupt) continue;  // what it may have held is missed at the end
      if (!decoded.ok()) return decoded.error();
      if (!fence_.Admits(decoded->header)) continue;
      const auto* chunk = std::get_if<bus::Chunk>(&decoded->body);
      if (const auto* commits = std::get_if<bus::Commits>(&decoded->body)) {
        TRY(TakeCommits(*commits));
      } else if (chunk != nullptr && chunk->index == 0) {
        bus::ChunkReader chunks(reader, seq, std::move(*decoded), stop);
        Status taken = TakeChunks(chunks);
        seq = chunks.last_seq();
        next = chunks.TakeInterruption();  // its publisher died inside it
        if (!next) TRY(std::move(taken));
      }
    }
    return Ok();
  }

  // Of the newest page 1 that was read; 0: none was.
  uint32_t change_counter() const { return change_counter_; }

 private:
  Status TakeCommits(const bus::Commits& commits) {
    for (const bus::Entry& entry : commits.entries) {
      ltx::BytesSource source(AsBytes(entry.ltx));
      TRY(Apply(source));
    }
    return Ok();
  }

  // Through a file: only with its last chunk does it count.
  Status TakeChunks(bus::ChunkReader& chunks) {
    TRY_ASSIGN(File file, File::CreateOrTruncate(scratch_));
    TRY(RemoveFile(scratch_));  // nobody else needs its name, and nothing is left behind
    std::vector<std::byte> buffer(kCopyBytes);
    uint64_t written = 0;
    while (true) {
      TRY_ASSIGN(const size_t got, chunks.Read(buffer));
      if (got == 0) break;
      TRY(file.WriteAt(written, Bytes(buffer).first(got)));
      written += got;
    }
    ScratchSource source(file);
    return Apply(source);
  }

  Status Apply(ltx::ByteSource& source) {
    ltx::Decoder decoder(source);
    TRY_ASSIGN(ltx::Header header, decoder.Begin());
    const Txid at = table_.position().txid;
    if (header.max_txid <= at || (at == Txid() && !header.IsSnapshot())) return Ok();
    TRY(table_.Reserve(Pgno(std::max(header.commit, uint32_t{1}))));
    while (true) {
      TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
      if (!page) break;
      table_.Set(page->pgno, ltx::PageChecksum(page->pgno, page->data), header.max_txid);
      if (page->pgno == Pgno(1)) change_counter_ = sqlite::ChangeCounterOf(page->data);
    }
    TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
    if (header.commit < table_.page_count()) table_.Truncate(header.commit, header.max_txid);
    table_.SetPosition({header.max_txid, trailer.post_apply_checksum}, header.commit);
    return Ok();
  }

  ltx::PageTable& table_;
  const std::string scratch_;
  bus::EpochFence fence_;
  uint32_t change_counter_ = 0;
};

// Trouble that says something about the log or the table, not about the way to them.
bool LeadsNowhere(const Status& status) {
  return !status.ok() &&
         (status.code() == Errc::kGap || status.code() == Errc::kCorrupt || status.code() == Errc::kNotFound);
}

}  // namespace

Status DatabasePublisher::RollForward(const LogHead& head, std::stop_token stop) {
  ltx::PageTable& table = ledger_->table();
  auto roll = [&]() -> Status {
    TRY_ASSIGN(std::optional<bus::StreamSeq> seq, bus::FindTxid(*log_, table.position().txid.Next(), stop));
    if (!seq) return Error(Errc::kGap, "the log no longer holds what follows " + ToString(table.position()));
    TRY_ASSIGN(std::unique_ptr<bus::LogReader> reader, log_->Read(bus::FromSequence{*seq}));
    return TableMover(table, state_dir_ + "/roll-forward").Read(*reader, head, stop);
  };
  Status rolled = roll();
  if (!rolled.ok() && !LeadsNowhere(rolled)) return rolled;
  std::unique_ptr<PageLedger> old = std::move(ledger_);
  ledger_ = std::make_unique<PageLedger>(old->TakeTable());
  return Ok();  // whether it leads to the head is seen by EnsureTable
}

// A log that was trimmed behind its archive holds no snapshot: the table begins with the archive's image. Returns where
// the log goes on; nullopt: it holds nothing more.
Result<std::optional<bus::StreamSeq>> DatabasePublisher::ReadArchivedTable(ltx::PageTable& table,
                                                                           uint32_t& change_counter,
                                                                           const LogHead& head, std::stop_token stop) {
  if (config_.archive == nullptr) return Error(Errc::kNotFound, "the log holds no snapshot");
  Result<ImageArchive::Image> image = config_.archive->ReadImage(head.lineage, head.position.txid, stop);
  if (!image.ok()) return image.error().With("the log holds no snapshot, and the archive");
  if (image->page_size != table.page_size()) return Error(Errc::kNotFound, "the archive's pages are of another size");
  TRY(table.Reserve(Pgno(std::max(static_cast<uint32_t>(image->checksums.size()), uint32_t{1}))));
  for (uint32_t raw = 1; raw <= image->checksums.size(); ++raw) {
    if (Pgno(raw) == LockPage(table.page_size())) continue;
    table.Set(Pgno(raw), image->checksums[raw - 1], image->position.txid);
  }
  table.SetPosition(image->position, static_cast<uint32_t>(image->checksums.size()));
  change_counter = image->change_counter;
  return bus::FindTxid(*log_, image->position.txid.Next(), std::move(stop));
}

// ENSURES: true: the page table is exactly the log's head. False: nothing says which pages that image had; the table
// is as it was.
Result<bool> DatabasePublisher::EnsureTable(const LogHead& head, std::stop_token stop) {
  const ltx::PageTable& damaged = ledger_->table();
  if (damaged.position() == head.position && damaged.Verify()) return true;
  Log(Level::kWarn, "page_table_damaged",
      {{"db", config_.name}, {"position", ToString(damaged.position())}, {"log_position", ToString(head.position)}});
  TRY_ASSIGN(std::unique_ptr<ltx::PageTable> table, ltx::PageTable::Create(DraftTablePath(), capture_->page_size()));
  TableMover mover(*table, state_dir_ + "/roll-forward");
  uint32_t archived_counter = 0;
  auto read = [&]() -> Status {
    TRY_ASSIGN(std::optional<bus::SnapshotPlace> place, bus::FindLastSnapshot(*log_, stop, head.position.txid));
    std::optional<bus::StreamSeq> from;
    if (place) {
      from = place->seq;
    } else {
      TRY_ASSIGN(from, ReadArchivedTable(*table, archived_counter, head, stop));
    }
    if (!from) return Ok();
    TRY_ASSIGN(std::unique_ptr<bus::LogReader> reader, log_->Read(bus::FromSequence{*from}));
    return mover.Read(*reader, head, stop);
  };
  Status rebuilt = read();
  if (!rebuilt.ok() && !LeadsNowhere(rebuilt)) return rebuilt.error();
  if (!rebuilt.ok() || table->position() != head.position || !table->Verify()) {
    TRY(RemoveFile(DraftTablePath()));
    return false;
  }
  TableOwner owner = LoadOwner(ledger_->table());
  owner.change_counter = std::max({owner.change_counter, archived_counter, mover.change_counter()});
  StoreOwner(*table, owner);
  const Txid taken = ledger_->table().position().txid;
  TRY(UseDraftTable(std::move(table)));
  taken_txid_ = std::max(taken_txid_, taken);
  Log(Level::kWarn, "page_table_rebuilt", {{"db", config_.name}, {"position", ToString(head.position)}});
  return true;
}

// A table that is made anew takes the old one's place only when it is whole.
std::string DatabasePublisher::DraftTablePath() const { return state_dir_ + "/pages.rebuilt"; }

Status DatabasePublisher::UseDraftTable(std::unique_ptr<ltx::PageTable> table) {
  TRY(table->Sync());
  TRY(RenameFile(DraftTablePath(), state_dir_ + "/pages"));
  ledger_ = std::make_unique<PageLedger>(std::move(table));
  return Ok();
}

}  // namespace runnel::publisher
