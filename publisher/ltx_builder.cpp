#include "publisher/ltx_builder.h"

#include <algorithm>
#include <utility>

#include "ltx/format/checksum.h"

namespace runnel::publisher {

void Merge(CommitFrames& older, CommitFrames newer) {
  std::vector<PageSource> merged;
  merged.reserve(older.pages.size() + newer.pages.size());
  auto old_page = older.pages.begin();
  auto new_page = newer.pages.begin();
  while (old_page != older.pages.end() || new_page != newer.pages.end()) {
    bool take_new =
        old_page == older.pages.end() || (new_page != newer.pages.end() && new_page->pgno <= old_page->pgno);
    if (take_new) {
      if (old_page != older.pages.end() && old_page->pgno == new_page->pgno) ++old_page;
      merged.push_back(*new_page++);
    } else {
      merged.push_back(*old_page++);
    }
  }
  while (!merged.empty() && merged.back().pgno.raw() > newer.page_count) merged.pop_back();
  newer.pages = std::move(merged);
  newer.wal_bytes += newer.wal_offset - older.wal_offset;
  newer.wal_offset = older.wal_offset;
  older = std::move(newer);
}

Result<BuiltLtx> LtxBuilder::Build(const LtxSpec& spec, const CommitFrames& frames, const PageLedger& ledger,
                                   const PageReader& read_page, ltx::ByteSink& sink) {
  ltx::Header header;
  header.page_size = page_size_;
  header.commit = frames.page_count;
  header.min_txid = spec.min_txid;
  header.max_txid = spec.max_txid;
  header.timestamp_ms = std::chrono::floor<std::chrono::milliseconds>(spec.captured_at).time_since_epoch().count();
  header.pre_apply_checksum = spec.pre_apply_checksum;
  if (frames.wal_bytes != 0) {
    header.wal_offset = frames.wal_offset;
    header.wal_bytes = frames.wal_bytes;
    // The salts' bytes lie in memory as in the file, which is big-endian.
    header.wal_salt1 = __builtin_bswap32(frames.end.salt[0]);
    header.wal_salt2 = __builtin_bswap32(frames.end.salt[1]);
  }
  header.node_id = spec.node_id;

  sink_.target = &sink;
  TRY(encoder_.Begin(header));
  InflightCommit commit;
  commit.page_count = frames.page_count;
  commit.wal_end = frames.end;
  commit.pages.reserve(frames.pages.size());
  for (const PageSource& source : frames.pages) {
    TRY_ASSIGN(Bytes page, read_page(source));
    Checksum checksum = ltx::PageChecksum(source.pgno, page);
    commit.pages.push_back({source.pgno, checksum});
    TRY(encoder_.AddPage(source.pgno, page));
  }
  commit.position.txid = spec.max_txid;
  commit.position.checksum = spec.post_apply_checksum ? *spec.post_apply_checksum : ledger.Apply(commit);
  TRY_ASSIGN(ltx::Trailer trailer, encoder_.Finish(commit.position.checksum));
  return BuiltLtx{std::move(commit), trailer.file_checksum, encoder_.bytes_written()};
}

}  // namespace runnel::publisher
