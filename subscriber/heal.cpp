#include "subscriber/heal.h"

#include <algorithm>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>
#include <vector>

#include "bus/find.h"
#include "ltx/base/bytes.h"
#include "ltx/format/checksum.h"
#include "ltx/format/decoder.h"
#include "subscriber/admit.h"

namespace runnel::subscriber {
namespace {

// Pages held at a time while fetching.
constexpr uint64_t kRoundBytes = 32 << 20;

using Pages = std::map<Pgno, std::string>;

// The newest version of each wanted page in the LTX files up to `as_of`.
class PageCollector {
 public:
  PageCollector(const std::set<Pgno>& wanted, Txid as_of) : wanted_(wanted), as_of_(as_of) {}

  Result<bool> Take(const WalkedLtx& ltx) {
    if (ltx.entry.max_txid > as_of_) return ltx.entry.min_txid == Txid(1);  // a newer snapshot: pass it over
    ltx::Decoder decoder(ltx.source);
    TRY_ASSIGN([[maybe_unused]] ltx::Header header, decoder.Begin());
    Pages found;
    while (true) {
      TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
      if (!page) break;
      if (wanted_.contains(page->pgno)) found[page->pgno] = std::string(AsText(page->data));
    }
    TRY_ASSIGN([[maybe_unused]] ltx::Trailer trailer, decoder.Finish());
    for (auto& [pgno, bytes] : found) pages_[pgno] = std::move(bytes);
    return true;
  }
  const Pages& pages() const { return pages_; }

 private:
  const std::set<Pgno>& wanted_;
  const Txid as_of_;
  Pages pages_;
};

// The log alone does not lead to its end: what an archive can mend.
bool LogFallsShort(const Error& error) {
  return error.code() == Errc::kNotFound || error.code() == Errc::kGap || error.code() == Errc::kCorrupt;
}

}  // namespace

Result<Healer::History> Healer::FromLog(std::stop_token stop) {
  TRY_ASSIGN(std::optional<bus::SnapshotPlace> place, bus::FindLastSnapshot(log_, stop));
  if (!place) return Error(Errc::kNotFound, "the log holds no snapshot to heal from");
  return History([this, stop, start = place->seq](const Visitor& visit) {
    return WalkLog(
        log_, start, [&](const WalkedLtx& ltx) { return visit(ltx, std::nullopt); }, stop);
  });
}

// Archived files hold every page that changed within their TXIDs, so each may be taken like a range of commits.
Result<Healer::History> Healer::FromArchive(Txid from, Txid upto, std::stop_token stop) {
  TRY_ASSIGN(std::optional<bus::StreamSeq> start, bus::FindTxid(log_, upto.Next(), stop));
  return History([this, from, upto, stop, start](const Visitor& visit) -> Status {
    bool more = true;
    auto visit_file = [&](const ArchiveSource::File& file) -> Result<bool> {
      bus::Header header;
      header.lineage = archive_->lineage();
      bus::Entry entry;
      entry.min_txid = file.part.min_txid;
      entry.max_txid = file.part.max_txid;
      entry.origin = entry.min_txid == Txid(1) ? bus::Origin::kSnapshot : bus::Origin::kRange;
      TRY_ASSIGN(more, visit({header, entry, file.source}, file.checksum));
      return more;
    };
    TRY(archive_->Walk(from, upto, visit_file));
    if (!start || !more) return Ok();
    return WalkLog(
        log_, *start, [&](const WalkedLtx& ltx) { return visit(ltx, std::nullopt); }, stop);
  });
}

Result<HealReport> Healer::ToHead(std::stop_token stop) {
  auto from_log = [&]() -> Result<HealReport> {
    TRY_ASSIGN(const History history, FromLog(stop));
    return HealBy(history, false);
  };
  Result<HealReport> healed = from_log();
  if (healed.ok() || archive_ == nullptr || !LogFallsShort(healed.error())) return healed;
  const std::optional<Txid> upto = archive_->Newest();
  if (!upto) return healed;
  // An exact replica of the same history needs only what came behind it, if that is less to read.
  const replica::ReplicaState& state = replica_.state();
  const bool same = state.exact && state.lineage == archive_->lineage().bytes && state.at.txid < *upto;
  const Result<uint64_t> behind = same ? archive_->BytesOfWalk(state.at.txid, *upto) : Error(Errc::kNotFound, "");
  const Result<uint64_t> whole = archive_->BytesOfWalk(Txid(), *upto);
  const bool on_from_here = behind.ok() && (!whole.ok() || *behind <= *whole);
  auto from_archive = [&]() -> Result<HealReport> {
    TRY_ASSIGN(const History history, FromArchive(on_from_here ? state.at.txid : Txid(), *upto, stop));
    return HealBy(history, on_from_here);
  };
  Result<HealReport> by_archive = from_archive();
  if (by_archive.ok()) return by_archive;
  return by_archive.error().With(healed.error().message() + "; the archive");
}

// The head is computed from the image that is there instead of from nothing.
Status Healer::StartFromReplica() {
  const replica::ReplicaState& state = replica_.state();
  TRY(table_->Reserve(Pgno(std::max(state.page_count, uint32_t{1}))));
  for (uint32_t pgno = 1; pgno <= state.page_count; ++pgno) {
    if (Pgno(pgno) == LockPage(state.page_size)) continue;
    table_->Set(Pgno(pgno), replica_.PageChecksumOf(Pgno(pgno)), state.at.txid);
  }
  table_->SetPosition(state.at, state.page_count);
  report_.lineage.bytes = state.lineage;
  return Ok();
}

Result<HealReport> Healer::HealBy(const History& history, bool on_from_here) {
  report_ = HealReport();
  TRY_ASSIGN(table_, ltx::PageTable::Create(scratch_, replica_.state().page_size));
  auto heal = [&]() -> Status {
    if (on_from_here) TRY(StartFromReplica());
    auto take = [&](const WalkedLtx& ltx, std::optional<Checksum> checksum) -> Result<bool> {
      TRY(Take(ltx, checksum));
      return true;
    };
    TRY(history(take));
    if (table_->position().txid == Txid() || !table_->Verify()) {
      return Error(Errc::kNotFound, "the log does not lead from its snapshot to an exact image");
    }
    report_.position = table_->position();
    TRY(replica_.Begin(replica_.state().page_size));
    TRY(FetchDiffering(history));
    replica::CommitPoint point;
    point.post = report_.position;
    point.page_count = table_->page_count();
    point.lineage = report_.lineage.bytes;
    return replica_.Commit(point);
  };
  Status healed = heal();
  if (!healed.ok()) replica_.Abort();
  table_.reset();
  std::error_code ec;
  std::filesystem::remove(scratch_, ec);
  if (!healed.ok()) return healed.error();
  return report_;
}

// Moves the scratch table over one LTX, if it continues it.
Status Healer::Take(const WalkedLtx& ltx, std::optional<Checksum> checksum) {
  const bus::Header& header = ltx.header;
  ltx::Decoder decoder(ltx.source);
  TRY_ASSIGN(ltx::Header ltx_header, decoder.Begin());
  bool fresh = ltx_header.IsSnapshot() && (header.lineage != report_.lineage || table_->position().txid == Txid());
  if (!fresh) {
    Admission admission = Admit(table_->position(), ltx_header, ltx.entry.origin);
    if (admission == Admission::kDuplicate) return Ok();
    if (admission != Admission::kNext && admission != Admission::kCovers) {
      return Error(Errc::kNotFound, "the log breaks off at " + ToString(table_->position()));
    }
  }
  if (ltx_header.page_size != table_->page_size()) {
    other_page_size_ = true;
    return Error(Errc::kUnsupported, "the log's database now has pages of " +
                                         std::to_string(ltx_header.page_size.raw()) + " bytes, the replica's have " +
                                         std::to_string(table_->page_size().raw()));
  }
  TRY(table_->Reserve(Pgno(std::max(ltx_header.commit, uint32_t{1}))));
  while (true) {
    TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
    table_->Set(page->pgno, ltx::PageChecksum(page->pgno, page->data), ltx_header.max_txid);
  }
  TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
  if (ltx_header.commit < table_->page_count()) table_->Truncate(ltx_header.commit, ltx_header.max_txid);
  const Checksum post = ltx_header.no_checksum ? checksum.value_or(Checksum()) : trailer.post_apply_checksum;
  table_->SetPosition({ltx_header.max_txid, post}, ltx_header.commit);
  report_.lineage = header.lineage;
  report_.epoch = header.epoch;
  return Ok();
}

Status Healer::FetchDiffering(const History& history) {
  const uint64_t round_pages = std::max<uint64_t>(1, kRoundBytes / table_->page_size().raw());
  uint32_t next = 1;
  while (next <= table_->page_count()) {
    std::set<Pgno> wanted;
    for (; next <= table_->page_count() && wanted.size() < round_pages; ++next) {
      Pgno pgno(next);
      if (pgno == LockPage(table_->page_size())) continue;
      if (table_->Get(pgno).checksum != replica_.PageChecksumOf(pgno)) wanted.insert(pgno);
    }
    if (wanted.empty()) continue;
    PageCollector collector(wanted, report_.position.txid);
    TRY(history([&](const WalkedLtx& ltx, std::optional<Checksum>) { return collector.Take(ltx); }));
    for (const auto& [pgno, bytes] : collector.pages()) TRY(replica_.AddPage(pgno, AsBytes(bytes)));
    report_.pages += collector.pages().size();
  }
  return Ok();
}

Result<uint64_t> Healer::RepairPages(const std::set<Pgno>& damaged, std::stop_token stop) {
  const Txid as_of = replica_.state().at.txid;
  Result<History> history = FromLog(stop);
  const std::optional<Txid> archived = archive_ != nullptr ? archive_->Newest(as_of) : std::nullopt;
  if (!history.ok() && history.code() == Errc::kNotFound && archived) history = FromArchive(Txid(), *archived, stop);
  if (!history.ok()) return history.error();
  PageCollector collector(damaged, as_of);
  TRY((*history)([&](const WalkedLtx& ltx, std::optional<Checksum>) { return collector.Take(ltx); }));
  for (const auto& [pgno, bytes] : collector.pages()) TRY(replica_.Repair(pgno, AsBytes(bytes)));
  return collector.pages().size();
}

}  // namespace runnel::subscriber
