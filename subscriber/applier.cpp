#include "subscriber/applier.h"

#include <chrono>
#include <optional>
#include <unordered_set>

#include "ltx/base/bytes.h"
#include "ltx/base/time.h"
#include "ltx/format/checksum.h"

namespace runnel::subscriber {
namespace {

constexpr std::chrono::milliseconds kPausedPoll{5};

}  // namespace

Status Applier::Begin(PageSize page_size) {
  while (true) {
    Status begun = replica_.Begin(page_size);
    if (begun.ok() || begun.code() != Errc::kUnavailable) return begun;
    TRY(replica_.Maintain(std::chrono::steady_clock::now()));
    TRY(SleepUntil(std::chrono::steady_clock::now() + kPausedPoll, stop_));
  }
}

Status Applier::Apply(ltx::ByteSource& source, bool only_differing) {
  ltx::Decoder decoder(source);
  TRY_ASSIGN(ltx::Header header, decoder.Begin());
  TRY(Begin(header.page_size));
  auto apply = [&]() -> Status {
    while (true) {
      TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
      if (!page) break;
      if (only_differing && replica_.PageChecksumOf(page->pgno) == ltx::PageChecksum(page->pgno, page->data)) continue;
      TRY(replica_.AddPage(page->pgno, page->data));
    }
    TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
    replica::CommitPoint point;
    point.post = {header.max_txid, trailer.post_apply_checksum};
    point.page_count = header.commit;
    return replica_.Commit(point);
  };
  Status applied = apply();
  if (!applied.ok()) replica_.Abort();
  return applied;
}

Status Applier::ApplyUnion(const std::vector<bus::Entry>& entries) {
  if (entries.size() == 1) {
    ltx::BytesSource source(AsBytes(entries.front().ltx));
    return Apply(source, false);
  }
  std::unordered_set<Pgno> seen;
  Position target;
  uint32_t page_count = 0;
  bool begun = false;
  auto apply = [&]() -> Status {
    for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
      ltx::BytesSource source(AsBytes(entry->ltx));
      ltx::Decoder decoder(source);
      TRY_ASSIGN(ltx::Header header, decoder.Begin());
      if (!begun) {
        page_count = header.commit;
        target.txid = header.max_txid;
        TRY(Begin(header.page_size));
        begun = true;
      }
      while (true) {
        TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
        if (!page) break;
        if (page->pgno.raw() > page_count || !seen.insert(page->pgno).second) continue;
        TRY(replica_.AddPage(page->pgno, page->data));
      }
      TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
      if (entry == entries.rbegin()) target.checksum = trailer.post_apply_checksum;
    }
    replica::CommitPoint point;
    point.post = target;
    point.page_count = page_count;
    return replica_.Commit(point);
  };
  Status applied = apply();
  if (!applied.ok() && begun) replica_.Abort();
  return applied;
}

}  // namespace runnel::subscriber
