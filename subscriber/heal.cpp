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
#include "subscriber/log_walk.h"

namespace runnel::subscriber {
namespace {

// Pages held at a time while fetching.
constexpr uint64_t kRoundBytes = 32 << 20;

using Pages = std::map<Pgno, std::string>;

// The newest version of each wanted page in LTX files up to `as_of`.
Status CollectPages(bus::Log& log, bus::StreamSeq start, const std::set<Pgno>& wanted, Txid as_of, Pages& pages,
                    std::stop_token stop) {
  return WalkLog(
      log, start,
      [&](const WalkedLtx& ltx) -> Result<bool> {
        if (ltx.entry.max_txid > as_of) return ltx.entry.min_txid == Txid(1);  // a newer snapshot: pass it over
        ltx::Decoder decoder(ltx.source);
        TRY_ASSIGN([[maybe_unused]] ltx::Header header, decoder.Begin());
        Pages found;
        while (true) {
          TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
          if (!page) break;
          if (wanted.contains(page->pgno)) found[page->pgno] = std::string(AsText(page->data));
        }
        TRY_ASSIGN([[maybe_unused]] ltx::Trailer trailer, decoder.Finish());
        for (auto& [pgno, bytes] : found) pages[pgno] = std::move(bytes);
        return true;
      },
      std::move(stop));
}

}  // namespace

Result<bus::StreamSeq> Healer::Snapshot() {
  TRY_ASSIGN(std::optional<bus::SnapshotPlace> place, bus::FindLastSnapshot(log_));
  if (!place) return Error(Errc::kNotFound, "the log holds no snapshot to heal from");
  return place->seq;
}

Result<HealReport> Healer::ToHead(std::stop_token stop) {
  report_ = HealReport();
  TRY_ASSIGN(bus::StreamSeq start, Snapshot());
  TRY_ASSIGN(table_, ltx::PageTable::Create(scratch_, replica_.state().page_size));
  auto heal = [&]() -> Status {
    TRY(ReadHead(start, stop));
    if (table_->position().txid == Txid() || !table_->Verify()) {
      return Error(Errc::kNotFound, "the log does not lead from its snapshot to an exact image");
    }
    report_.position = table_->position();
    TRY(replica_.Begin(replica_.state().page_size));
    TRY(FetchDiffering(start, stop));
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

Status Healer::ReadHead(bus::StreamSeq start, std::stop_token stop) {
  return WalkLog(
      log_, start,
      [&](const WalkedLtx& ltx) -> Result<bool> {
        TRY(Take(ltx.source, ltx.header, ltx.entry.origin));
        return true;
      },
      std::move(stop));
}

// Moves the scratch table over one LTX, if it continues it.
Status Healer::Take(ltx::ByteSource& source, const bus::Header& header, bus::Origin origin) {
  ltx::Decoder decoder(source);
  TRY_ASSIGN(ltx::Header ltx_header, decoder.Begin());
  bool fresh = ltx_header.IsSnapshot() && (header.lineage != report_.lineage || table_->position().txid == Txid());
  if (!fresh) {
    Admission admission = Admit(table_->position(), ltx_header, origin);
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
  table_->SetPosition({ltx_header.max_txid, trailer.post_apply_checksum}, ltx_header.commit);
  report_.lineage = header.lineage;
  report_.epoch = header.epoch;
  return Ok();
}

Status Healer::FetchDiffering(bus::StreamSeq start, std::stop_token stop) {
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
    Pages pages;
    TRY(CollectPages(log_, start, wanted, report_.position.txid, pages, stop));
    for (const auto& [pgno, bytes] : pages) TRY(replica_.AddPage(pgno, AsBytes(bytes)));
    report_.pages += pages.size();
  }
  return Ok();
}

Result<uint64_t> Healer::RepairPages(const std::set<Pgno>& damaged, std::stop_token stop) {
  TRY_ASSIGN(bus::StreamSeq start, Snapshot());
  Pages pages;
  TRY(CollectPages(log_, start, damaged, replica_.state().at.txid, pages, std::move(stop)));
  for (const auto& [pgno, bytes] : pages) TRY(replica_.Repair(pgno, AsBytes(bytes)));
  return pages.size();
}

}  // namespace runnel::subscriber
