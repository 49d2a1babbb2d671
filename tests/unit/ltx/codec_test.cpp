// Encoder and decoder on whole, sound files. damage_test.cpp has the others.
#include <gtest/gtest.h>

#include <random>

#include "ltx/format/decoder.h"
#include "ltx/format/encoder.h"
#include "tests/support/ltx_spec.h"
#include "tests/unit/ltx/golden.h"

namespace runnel::ltx {
namespace {

using testing::Commit;
using testing::FromBytes;
using testing::GoldenLtx;
using testing::GoldenLtxNames;
using testing::LtxSpec;
using testing::Range;
using testing::ToBytes;
using PageBytes = std::string;

PageBytes FilledPage(uint32_t size, char fill) { return testing::Page(size, fill); }

PageBytes RandomPage(uint32_t size, std::mt19937_64& random) {
  PageBytes page(size, '\0');
  for (char& c : page) c = static_cast<char>(random());
  return page;
}

// Gives away `step` bytes a call at most, to find assumptions about reads.
class TrickleSource : public ByteSource {
 public:
  TrickleSource(Bytes bytes, size_t step) : inner_(bytes), step_(step) {}
  Result<size_t> Read(MutableBytes out) override { return inner_.Read(out.first(std::min(out.size(), step_))); }

 private:
  BytesSource inner_;
  size_t step_;
};

TEST(Decoder, ReadsEveryGoldenFile) {
  const std::vector<std::string> names = GoldenLtxNames();
  EXPECT_EQ(names.size(), 17u);
  for (const std::string& name : names) {
    Result<LtxSpec> spec = FromBytes(GoldenLtx(name));
    EXPECT_TRUE(spec.ok()) << name << ": " << spec.error().message();
  }
}

TEST(Decoder, ReadsGoldenSnapshotsToTheDatabaseTheyWereMadeFrom) {
  const std::string database = GoldenLtx("v512.db");
  for (const char* name : {"lit-512-nochecksum.ltx", "lit-512-checksum.ltx"}) {
    Result<LtxSpec> spec = FromBytes(GoldenLtx(name));
    ASSERT_TRUE(spec.ok()) << spec.error().message();
    ASSERT_EQ(spec->pages.size(), 2u);
    EXPECT_EQ(spec->pages[1] + spec->pages[2], database);
  }
}

TEST(Decoder, ReadsTheFieldsOfGoldenFiles) {
  LtxSpec tracked = *FromBytes(GoldenLtx("lit-512-checksum.ltx"));
  EXPECT_EQ(tracked.header.node_id, 0x1122334455667788u);
  EXPECT_EQ(ToString(tracked.trailer.post_apply_checksum), "9bec9de8f075ebba");
  EXPECT_EQ(tracked.trailer.file_checksum, 0xf3ae236391f49d9du);
  LtxSpec increment = *FromBytes(GoldenLtx("lit-512-inc-checksum.ltx"));
  EXPECT_EQ(increment.header.pre_apply_checksum, tracked.trailer.post_apply_checksum);
  EXPECT_NE(increment.header.wal_salt1, 0u);
  LtxSpec deletion = *FromBytes(GoldenLtx("lit-512-delete-checksum.ltx"));
  EXPECT_EQ(deletion.header.commit, 0u);
  EXPECT_EQ(deletion.trailer.post_apply_checksum, Checksum::Empty());
  EXPECT_EQ(FromBytes(GoldenLtx("go-0.5.17-l0-txid1-nochecksum.ltx"))->trailer.file_checksum, 0x88a75fe8784ec262u);
}

TEST(Decoder, ReadsLz4FramePagesOfOlderWriters) {
  LtxSpec spec = *FromBytes(GoldenLtx("go-0.5.1-legacy-frames.ltx"));
  ASSERT_EQ(spec.pages.size(), 3u);
  EXPECT_EQ(spec.pages[1].substr(0, 15), "SQLite format 3");
  EXPECT_EQ(spec.pages[3][100], static_cast<char>(300 & 255));
  EXPECT_EQ(ToString(spec.trailer.post_apply_checksum), "f8696ccecc9a39c0");
  EXPECT_EQ(spec.trailer.file_checksum, 0xc023341fd6e62019u);
}

TEST(Decoder, DoesNotCareHowTheBytesArrive) {
  for (const char* name : {"go-0.5.17-l0-txid2-incompressible.ltx", "go-0.5.1-legacy-frames.ltx",
                           "lit-512-checksum.ltx", "litestream-0.5.18/9/0000000000000001-000000000000001c.ltx"}) {
    const std::string bytes = GoldenLtx(name);
    const LtxSpec whole = *FromBytes(bytes);
    for (size_t step : {1, 2, 3, 7, 99, 101, 4096}) {
      TrickleSource source(AsBytes(bytes), step);
      Decoder decoder(source);
      ASSERT_EQ(*decoder.Begin(), whole.header);
      for (const auto& [pgno, data] : whole.pages) {
        Result<std::optional<Page>> page = decoder.Next();
        ASSERT_TRUE(page.ok()) << page.error().message();
        ASSERT_TRUE(page->has_value());
        EXPECT_EQ((*page)->pgno, Pgno(pgno));
        EXPECT_EQ(AsText((*page)->data), data);
      }
      EXPECT_FALSE(decoder.Next()->has_value());
      Result<Trailer> trailer = decoder.Finish();
      ASSERT_TRUE(trailer.ok()) << trailer.error().message();
      EXPECT_EQ(*trailer, whole.trailer);
    }
  }
}

TEST(Decoder, RefusesCallsOutOfOrder) {
  const std::string bytes = GoldenLtx("lit-512-checksum.ltx");
  BytesSource source(AsBytes(bytes));
  Decoder decoder(source);
  EXPECT_EQ(decoder.Next().code(), Errc::kInvalid);
  EXPECT_EQ(decoder.Finish().code(), Errc::kInvalid);
  ASSERT_TRUE(decoder.Begin().ok());
  EXPECT_EQ(decoder.Begin().code(), Errc::kInvalid);
  EXPECT_EQ(decoder.Finish().code(), Errc::kInvalid) << "pages not read";
}

TEST(Encoder, WritesGoldenContentsBackEqual) {
  for (const std::string& name : GoldenLtxNames()) {
    const LtxSpec spec = *FromBytes(GoldenLtx(name));
    LtxSpec back = *FromBytes(ToBytes(spec));
    EXPECT_EQ(back.header, spec.header) << name;
    EXPECT_EQ(back.pages, spec.pages) << name;
    EXPECT_EQ(back.trailer.post_apply_checksum, spec.trailer.post_apply_checksum) << name;
  }
}

TEST(Encoder, WritesTheShortestFileByteForByteAsTheGoldenOne) {
  const std::string golden = GoldenLtx("lit-512-delete-checksum.ltx");
  EXPECT_EQ(golden.size(), kFileBytesMin);
  EXPECT_EQ(ToHex(AsBytes(ToBytes(*FromBytes(golden)))), ToHex(AsBytes(golden)));
}

TEST(Encoder, ReportsTheTrailerAndTheBytesItWrote) {
  LtxSpec spec = Commit(512, 2, {{1, FilledPage(512, 'a')}});
  StringSink sink;
  Encoder encoder(sink);
  ASSERT_TRUE(encoder.Begin(spec.header).ok());
  ASSERT_TRUE(encoder.AddPage(Pgno(1), AsBytes(spec.pages[1])).ok());
  Trailer trailer = *encoder.Finish(Checksum(5));
  const std::string bytes = sink.Take();
  EXPECT_EQ(encoder.bytes_written(), bytes.size());
  EXPECT_EQ(trailer, FromBytes(bytes)->trailer);
  EXPECT_EQ(trailer.post_apply_checksum, Checksum()) << "ignored when not tracked";
}

// Bytes of each page's frame in one file of these pages.
std::vector<uint64_t> FrameBytes(Encoder& encoder, StringSink& sink, const std::vector<PageBytes>& pages) {
  std::map<uint32_t, PageBytes> numbered;
  for (const PageBytes& page : pages) numbered[static_cast<uint32_t>(numbered.size() + 1)] = page;
  const LtxSpec spec = Range(static_cast<uint32_t>(pages.at(0).size()), 5, 9, numbered);
  std::vector<uint64_t> frames;
  sink.clear();
  EXPECT_TRUE(encoder.Begin(spec.header).ok());
  for (const auto& [pgno, page] : numbered) {
    const uint64_t before = encoder.bytes_written();
    EXPECT_TRUE(encoder.AddPage(Pgno(pgno), AsBytes(page)).ok());
    frames.push_back(encoder.bytes_written() - before);
  }
  EXPECT_TRUE(encoder.Finish(Checksum()).ok());
  Result<LtxSpec> back = FromBytes(sink.text());
  EXPECT_TRUE(back.ok() && back->pages == numbered);
  return frames;
}

TEST(Encoder, LeavesPagesAsTheyAreThatWouldSaveLessThanAnEighth) {
  std::mt19937_64 random(1);
  for (const uint32_t size : {512u, 4096u, 65536u}) {
    StringSink sink;
    Encoder encoder(sink);
    PageBytes little = RandomPage(size, random);
    std::fill_n(little.begin(), size / 16, 'x');
    PageBytes much = RandomPage(size, random);
    std::fill_n(much.begin(), size / 4, 'x');
    const std::vector<uint64_t> frames = FrameBytes(encoder, sink, {RandomPage(size, random), little, much});
    const uint64_t literals = 10 + 1 + (size - 15) / 255 + 1 + size;
    EXPECT_EQ(frames[0], literals);
    EXPECT_EQ(frames[1], literals);
    EXPECT_LT(frames[2], size - size / 8 + 10);
  }
}

TEST(Encoder, TriesOnePageInSixteenAfterSixteenInVain) {
  constexpr uint32_t kBytes = 4096;
  std::mt19937_64 random(2);
  StringSink sink;
  Encoder encoder(sink);
  const PageBytes noise = RandomPage(kBytes, random);
  const PageBytes even(kBytes, 'x');
  // One in vain less: each page is still tried.
  FrameBytes(encoder, sink, std::vector<PageBytes>(15, noise));
  EXPECT_LT(FrameBytes(encoder, sink, {even})[0], 100u);
  FrameBytes(encoder, sink, std::vector<PageBytes>(16, noise));
  const std::vector<uint64_t> frames = FrameBytes(encoder, sink, std::vector<PageBytes>(20, even));
  for (size_t i = 0; i < frames.size(); ++i) EXPECT_EQ(frames[i] > kBytes, i < 15) << i;
}

class CodecRandom : public ::testing::TestWithParam<uint32_t> {};

TEST_P(CodecRandom, RoundTripsWithOneEncoderForAll) {
  const uint32_t page_size = GetParam();
  std::mt19937_64 random(page_size);
  StringSink sink;
  Encoder encoder(sink);
  for (int round = 0; round < 60; ++round) {
    std::map<uint32_t, PageBytes> pages;
    const uint32_t count = static_cast<uint32_t>(random() % (round == 0 ? 2000 : 12));
    const uint64_t min_txid = 1 + random() % 3;
    const uint32_t step = min_txid == 1 ? 1 : 1 + static_cast<uint32_t>(random() % 100000);
    for (uint32_t i = 0, pgno = 0; i <= count; ++i) {
      pgno += min_txid == 1 ? 1 : 1 + static_cast<uint32_t>(random() % step);
      pages[pgno] =
          random() % 3 == 0 ? RandomPage(page_size, random) : FilledPage(page_size, static_cast<char>(random()));
    }
    LtxSpec spec = Range(page_size, min_txid, min_txid + random() % 5, pages);
    spec.header.timestamp_ms = static_cast<int64_t>(random());
    if (min_txid != 1) spec.header.commit += static_cast<uint32_t>(random() % 3);
    ASSERT_TRUE(encoder.Begin(spec.header).ok());
    for (const auto& [pgno, data] : spec.pages) ASSERT_TRUE(encoder.AddPage(Pgno(pgno), AsBytes(data)).ok());
    Result<Trailer> trailer = encoder.Finish(Checksum());
    ASSERT_TRUE(trailer.ok()) << trailer.error().message();
    spec.trailer = *trailer;
    const std::string bytes = sink.Take();
    Result<LtxSpec> back = FromBytes(bytes);
    ASSERT_TRUE(back.ok()) << back.error().message();
    ASSERT_EQ(*back, spec);
    ASSERT_EQ(bytes, ToBytes(spec)) << "a used encoder writes what a new one does, if it has not learnt to try less";
  }
}

INSTANTIATE_TEST_SUITE_P(PageSizes, CodecRandom, ::testing::Values(512, 4096, 65536));

// The encoder's answer to pages in this order.
std::string WhyRefused(const Header& header, const std::vector<uint32_t>& pgnos, bool finish = true) {
  StringSink sink;
  Encoder encoder(sink);
  EXPECT_TRUE(encoder.Begin(header).ok());
  const PageBytes page = FilledPage(header.page_size.raw(), 'x');
  for (uint32_t pgno : pgnos) {
    Status added = encoder.AddPage(Pgno(pgno), AsBytes(page));
    if (added.ok()) continue;
    EXPECT_EQ(added.code(), Errc::kInvalid);
    EXPECT_FALSE(encoder.Finish(Checksum()).ok()) << "dead after an error";
    return added.error().message();
  }
  if (!finish) return "";
  Result<Trailer> trailer = encoder.Finish(Checksum());
  return trailer.ok() ? "" : trailer.error().message();
}

TEST(Encoder, RefusesPagesTheFormatForbids) {
  Header increment = Commit(65536, 2, {{40000, ""}}).header;
  const uint32_t lock_page = LockPage(PageSize(65536)).raw();
  EXPECT_EQ(lock_page, 16385u);
  EXPECT_EQ(WhyRefused(increment, {1, 7, 40000}), "");
  EXPECT_EQ(WhyRefused(increment, {}), "");
  EXPECT_EQ(WhyRefused(increment, {0}), "ltx encoder: page number 0");
  EXPECT_EQ(WhyRefused(increment, {40001}), "ltx encoder: page 40001 is beyond the commit of 40000 pages");
  EXPECT_EQ(WhyRefused(increment, {lock_page}), "ltx encoder: page 16385 is the lock page");
  EXPECT_EQ(WhyRefused(increment, {5, 5}), "ltx encoder: page 5 follows page 5");
  EXPECT_EQ(WhyRefused(increment, {5, 4}), "ltx encoder: page 4 follows page 5");
  Header snapshot = Commit(512, 1, {{3, ""}}).header;
  EXPECT_EQ(WhyRefused(snapshot, {1, 2, 3}), "");
  EXPECT_EQ(WhyRefused(snapshot, {2}), "ltx encoder: page 2 follows page 0 in a snapshot");
  EXPECT_EQ(WhyRefused(snapshot, {1, 3}), "ltx encoder: page 3 follows page 1 in a snapshot");
  EXPECT_EQ(WhyRefused(snapshot, {1, 2}), "ltx encoder: snapshot of 3 pages ends with page 2");
}

TEST(Encoder, RefusesPagesOfAnotherSizeBadHeadersAndBadChecksums) {
  StringSink sink;
  Encoder encoder(sink);
  EXPECT_EQ(encoder.AddPage(Pgno(1), {}).code(), Errc::kInvalid);
  EXPECT_EQ(encoder.Finish(Checksum()).code(), Errc::kInvalid);
  Header header = Commit(512, 2, {{1, ""}}).header;
  ASSERT_TRUE(encoder.Begin(header).ok());
  EXPECT_EQ(encoder.AddPage(Pgno(1), AsBytes(FilledPage(511, 'x'))).code(), Errc::kInvalid);
  header.no_checksum = false;
  EXPECT_EQ(encoder.Begin(header).code(), Errc::kInvalid) << "no pre-apply checksum";
  header.pre_apply_checksum = Checksum::Empty();
  ASSERT_TRUE(encoder.Begin(header).ok());
  EXPECT_EQ(encoder.Finish(Checksum(1)).code(), Errc::kInvalid);
  header.commit = 0;
  header.no_checksum = true;
  header.pre_apply_checksum = Checksum();
  ASSERT_TRUE(encoder.Begin(header).ok());
  EXPECT_EQ(encoder.Finish(Checksum()).code(), Errc::kInvalid) << "an untracked file cannot say that no page is left";
}

TEST(Encoder, StartsAfreshAfterAnError) {
  StringSink sink;
  Encoder encoder(sink);
  LtxSpec spec = Commit(512, 2, {{1, FilledPage(512, 'a')}});
  ASSERT_TRUE(encoder.Begin(spec.header).ok());
  ASSERT_FALSE(encoder.AddPage(Pgno(9), AsBytes(spec.pages[1])).ok());
  sink.Take();
  ASSERT_TRUE(encoder.Begin(spec.header).ok());
  ASSERT_TRUE(encoder.AddPage(Pgno(1), AsBytes(spec.pages[1])).ok());
  ASSERT_TRUE(encoder.Finish(Checksum()).ok());
  EXPECT_EQ(sink.Take(), ToBytes(spec));
}

class FullSink : public ByteSink {
 public:
  explicit FullSink(size_t room) : room_(room) {}
  Status Write(Bytes bytes) override {
    if (bytes.size() > room_) return Error(Errc::kExhausted, "no room");
    room_ -= bytes.size();
    return Ok();
  }

 private:
  size_t room_;
};

TEST(Encoder, PassesTheSinksErrorOnAndIsDeadThen) {
  LtxSpec spec = Commit(512, 2, {{1, FilledPage(512, 'a')}});
  const size_t size = ToBytes(spec).size();
  for (size_t room = 0; room <= size; ++room) {
    FullSink sink(room);
    Encoder encoder(sink);
    Status status = encoder.Begin(spec.header);
    if (status.ok()) status = encoder.AddPage(Pgno(1), AsBytes(spec.pages[1]));
    if (status.ok()) {
      if (Result<Trailer> trailer = encoder.Finish(Checksum()); !trailer.ok()) status = trailer.error();
    }
    EXPECT_EQ(status.ok(), room == size);
    EXPECT_TRUE(status.ok() || status.code() == Errc::kExhausted);
    EXPECT_EQ(encoder.Finish(Checksum()).code(), Errc::kInvalid);
  }
}

// Sixteen thousand pages of 64 KiB: the only way to pass the lock page in a snapshot.
TEST(Codec, SnapshotsSkipTheLockPage) {
  const uint32_t lock_page = LockPage(PageSize(65536)).raw();
  const PageBytes page = FilledPage(65536, 'x');
  for (uint32_t commit : {lock_page, lock_page + 1}) {
    StringSink sink;
    Encoder encoder(sink);
    ASSERT_TRUE(encoder.Begin(Range(65536, 1, 1, {{commit, ""}}).header).ok());
    for (uint32_t pgno = 1; pgno <= commit; ++pgno) {
      if (pgno == lock_page) continue;
      ASSERT_TRUE(encoder.AddPage(Pgno(pgno), AsBytes(page)).ok());
    }
    ASSERT_TRUE(encoder.Finish(Checksum()).ok());
    const std::string bytes = sink.Take();
    BytesSource source(AsBytes(bytes));
    Decoder decoder(source);
    ASSERT_TRUE(decoder.Begin().ok());
    uint32_t pages = 0;
    while (true) {
      Result<std::optional<Page>> next = decoder.Next();
      ASSERT_TRUE(next.ok()) << next.error().message();
      if (!next->has_value()) break;
      ++pages;
    }
    EXPECT_EQ(pages, commit - 1);
    EXPECT_TRUE(decoder.Finish().ok());
  }
}

}  // namespace
}  // namespace runnel::ltx
