#include "tests/support/ltx_spec.h"

#include <gtest/gtest.h>

#include <optional>
#include <utility>

#include "ltx/format/decoder.h"
#include "ltx/format/encoder.h"

namespace runnel::testing {

std::string Page(uint32_t page_size, char fill) { return std::string(page_size, fill); }

LtxSpec Range(uint32_t page_size, uint64_t min_txid, uint64_t max_txid, std::map<uint32_t, std::string> pages) {
  LtxSpec spec;
  spec.header.no_checksum = true;
  spec.header.page_size = PageSize(page_size);
  spec.header.min_txid = Txid(min_txid);
  spec.header.max_txid = Txid(max_txid);
  spec.header.commit = pages.empty() ? 1 : pages.rbegin()->first;
  spec.pages = std::move(pages);
  return spec;
}

std::string ToBytes(const LtxSpec& spec) {
  ltx::StringSink sink;
  ltx::Encoder encoder(sink);
  Status begun = encoder.Begin(spec.header);
  EXPECT_TRUE(begun.ok()) << begun.error().message();
  for (const auto& [pgno, data] : spec.pages) {
    Status added = encoder.AddPage(Pgno(pgno), AsBytes(data));
    EXPECT_TRUE(added.ok()) << added.error().message();
  }
  Result<ltx::Trailer> trailer = encoder.Finish(spec.trailer.post_apply_checksum);
  EXPECT_TRUE(trailer.ok()) << trailer.error().message();
  return sink.Take();
}

Result<LtxSpec> FromBytes(std::string_view bytes) {
  ltx::BytesSource source(AsBytes(bytes));
  ltx::Decoder decoder(source);
  LtxSpec spec;
  TRY_ASSIGN(spec.header, decoder.Begin());
  while (true) {
    TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
    spec.pages.emplace(page->pgno.raw(), AsText(page->data));
  }
  TRY_ASSIGN(spec.trailer, decoder.Finish());
  return spec;
}

Checksum Image::Sum() const {
  Checksum sum = Checksum::Empty();
  for (uint32_t i = 0; i < pages.size(); ++i) {
    const Pgno pgno(i + 1);
    if (pgno != LockPage(PageSize(page_size))) sum = sum.Toggle(ltx::PageChecksum(pgno, AsBytes(pages[i])));
  }
  return sum;
}

void Image::Apply(const LtxSpec& spec) {
  page_size = spec.header.page_size.raw();
  pages.resize(spec.header.commit);
  for (const auto& [pgno, data] : spec.pages) pages[pgno - 1] = data;
}

LtxSpec Image::Change(uint64_t txid, std::map<uint32_t, std::string> changes, uint32_t commit) const {
  LtxSpec spec = Commit(page_size, txid, std::move(changes));
  spec.header.no_checksum = false;
  spec.header.commit = commit;
  if (txid > 1) spec.header.pre_apply_checksum = Sum();
  Image after = *this;
  after.Apply(spec);
  spec.trailer.post_apply_checksum = after.Sum();
  return spec;
}

}  // namespace runnel::testing
