// The page table is behind what the log has acknowledged (killed between the ack and the note): the log itself says
// what is missing. One pass; a large LTX goes through a file, because only its last chunk says that it is whole.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "bus/find.h"
#include "ltx/base/bytes.h"
#include "ltx/base/fs.h"
#include "ltx/format/checksum.h"
#include "ltx/format/decoder.h"
#include "publisher/database.h"

namespace runnel::publisher {
namespace {

constexpr std::chrono::seconds kNextWait{10};

// Copies the page checksums of one LTX into the table.
Status ApplyToTable(ltx::PageTable& table, ltx::ByteSource& source) {
  ltx::Decoder decoder(source);
  TRY_ASSIGN(ltx::Header header, decoder.Begin());
  if (header.max_txid <= table.position().txid) return Ok();
  TRY(table.Reserve(Pgno(std::max(header.commit, uint32_t{1}))));
  while (true) {
    TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
    table.Set(page->pgno, ltx::PageChecksum(page->pgno, page->data), header.max_txid);
  }
  TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
  if (header.commit < table.page_count()) table.Truncate(header.commit, header.max_txid);
  table.SetPosition({header.max_txid, trailer.post_apply_checksum}, header.commit);
  return Ok();
}

// The chunks of one LTX, put together in a temporary file.
class ChunkFile {
 public:
  explicit ChunkFile(std::string path) : path_(std::move(path)) {}
  ~ChunkFile() {
    // Left behind, it would only be overwritten by the next one.
    [[maybe_unused]] Status removed = file_ ? RemoveFile(path_) : Ok();
  }
  ChunkFile(const ChunkFile&) = delete;
  ChunkFile& operator=(const ChunkFile&) = delete;

  Status Add(const bus::Chunk& chunk) {
    if (chunk.index == 0) {
      TRY_ASSIGN(file_, File::CreateOrTruncate(path_));
      bytes_ = 0;
    }
    if (!file_) return Ok();  // the rest of an LTX whose beginning is already in the table
    TRY(file_->WriteAt(bytes_, AsBytes(chunk.data)));
    bytes_ += chunk.data.size();
    return Ok();
  }

  Status ApplyTo(ltx::PageTable& table) {
    if (!file_) return Ok();
    Source source(*file_);
    return ApplyToTable(table, source);
  }

 private:
  class Source : public ltx::ByteSource {
   public:
    explicit Source(const File& file) : file_(file) {}
    Result<size_t> Read(MutableBytes out) override {
      TRY_ASSIGN(size_t got, file_.ReadAt(offset_, out));
      offset_ += got;
      return got;
    }

   private:
    const File& file_;
    uint64_t offset_ = 0;
  };

  const std::string path_;
  std::optional<File> file_;
  uint64_t bytes_ = 0;
};

}  // namespace

Status DatabasePublisher::RollForward(const LogHead& head, std::stop_token stop) {
  ltx::PageTable& table = ledger_->table();
  TRY_ASSIGN(std::optional<bus::StreamSeq> seq, bus::FindTxid(*log_, table.position().txid.Next()));
  if (!seq)
    return Error(Errc::kRefused, config_.path + ": the log no longer holds what follows " + ToString(table.position()));
  TRY_ASSIGN(std::unique_ptr<bus::LogReader> reader, log_->Read(bus::FromSequence{*seq}));
  ChunkFile chunks(state_dir_ + "/roll-forward");
  while (table.position().txid < head.position.txid) {
    TRY_ASSIGN(bus::Message message, reader->Next(std::chrono::steady_clock::now() + kNextWait, stop));
    Result<bus::Envelope> decoded = bus::Decode(message.payload);
    if (!decoded.ok() && decoded.code() == Errc::kCorrupt) continue;  // what it may have held is missed at the end
    if (!decoded.ok()) return decoded.error();
    bus::Envelope envelope = std::move(*decoded);
    if (auto* commits = std::get_if<bus::Commits>(&envelope.body)) {
      for (const bus::Entry& entry : commits->entries) {
        ltx::BytesSource source(AsBytes(entry.ltx));
        TRY(ApplyToTable(table, source));
      }
    } else if (auto* chunk = std::get_if<bus::Chunk>(&envelope.body)) {
      TRY(chunks.Add(*chunk));
      if (chunk->last) TRY(chunks.ApplyTo(table));
    }
  }
  if (table.position() != head.position || !table.Verify()) {
    return Error(Errc::kRefused, config_.path + ": the page table at " + ToString(table.position()) +
                                     " does not lead to the log's " + ToString(head.position));
  }
  std::unique_ptr<PageLedger> old = std::move(ledger_);
  ledger_ = std::make_unique<PageLedger>(old->TakeTable());
  return Ok();
}

}  // namespace runnel::publisher
