#include "ltx/format/index_reader.h"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/ltx_spec.h"
#include "tests/unit/ltx/golden.h"

namespace runnel::ltx {
namespace {

using testing::Commit;
using testing::FromBytes;
using testing::GoldenLtx;
using testing::GoldenLtxNames;
using testing::LtxSpec;
using testing::Page;
using testing::ToBytes;

// Counts what is asked for.
class CountingSource : public RandomSource {
 public:
  explicit CountingSource(Bytes bytes) : inner_(bytes) {}
  uint64_t size() const override { return inner_.size(); }
  Status ReadAt(uint64_t offset, MutableBytes out) override {
    ++reads;
    bytes_read += out.size();
    return inner_.ReadAt(offset, out);
  }
  int reads = 0;
  uint64_t bytes_read = 0;

 private:
  RandomBytesSource inner_;
};

// All that random access yields of a file.
Result<LtxSpec> ReadAll(std::string_view bytes) {
  RandomBytesSource source(AsBytes(bytes));
  TRY_ASSIGN(IndexReader reader, IndexReader::Open(source));
  LtxSpec spec;
  spec.header = reader.header();
  spec.trailer = reader.trailer();
  for (const IndexReader::Frame& frame : reader.frames()) {
    std::string page(reader.header().page_size.raw(), '\0');
    TRY(reader.ReadPage(frame, std::as_writable_bytes(std::span(page))));
    spec.pages[frame.pgno.raw()] = page;
  }
  return spec;
}

TEST(IndexReader, ReadsWhatTheDecoderReads) {
  for (const std::string& name : GoldenLtxNames()) {
    const std::string bytes = GoldenLtx(name);
    Result<LtxSpec> random = ReadAll(bytes);
    ASSERT_TRUE(random.ok()) << name << ": " << random.error().message();
    EXPECT_EQ(*random, *FromBytes(bytes)) << name;
  }
}

TEST(IndexReader, FindsPagesByNumber) {
  const std::string bytes = ToBytes(Commit(512, 2, {{3, Page(512, 'a')}, {9, Page(512, 'b')}, {300, Page(512, 'c')}}));
  RandomBytesSource source(AsBytes(bytes));
  IndexReader reader = *IndexReader::Open(source);
  for (uint32_t pgno : {0u, 1u, 4u, 8u, 10u, 299u, 301u, kPgnoMax})
    EXPECT_FALSE(reader.Find(Pgno(pgno)).has_value()) << pgno;
  for (uint32_t pgno : {3u, 9u, 300u}) EXPECT_EQ(reader.Find(Pgno(pgno))->pgno, Pgno(pgno));
}

TEST(IndexReader, ReadsLittleOfALargeFile) {
  std::map<uint32_t, std::string> pages;
  std::mt19937 random(9);
  for (uint32_t pgno = 1; pgno <= 8000; ++pgno) {
    pages[pgno] = Page(512, 'x');
    for (char& c : pages[pgno]) c = static_cast<char>(random());
  }
  const std::string bytes = ToBytes(Commit(512, 1, pages));
  ASSERT_GT(bytes.size(), 4u << 20);
  CountingSource source(AsBytes(bytes));
  IndexReader reader = *IndexReader::Open(source);
  EXPECT_EQ(source.reads, 3) << "header, tail, and an index longer than that";
  EXPECT_LT(source.bytes_read, 120000u);
  std::string page(512, '\0');
  ASSERT_TRUE(reader.ReadPage(*reader.Find(Pgno(4321)), std::as_writable_bytes(std::span(page))).ok());
  EXPECT_EQ(page, pages[4321]);
  EXPECT_EQ(source.reads, 4);
}

std::vector<std::string> SmallFiles() {
  return {GoldenLtx("lit-512-delete-checksum.ltx"), GoldenLtx("lit-512-inc-checksum.ltx"),
          GoldenLtx("go-0.5.17-l0-txid1-nochecksum.ltx"), GoldenLtx("go-0.5.1-legacy-frames.ltx"),
          ToBytes(Commit(512, 2, {{3, Page(512, 'a')}, {9, Page(512, 'b')}}))};
}

TEST(IndexReader, RefusesEveryTruncation) {
  for (const std::string& bytes : SmallFiles()) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      ASSERT_EQ(ReadAll(bytes.substr(0, size)).code(), Errc::kCorrupt) << size << " of " << bytes.size();
    }
  }
}

TEST(IndexReader, NeverLeavesTheFileForAFlippedBitAndFindsThoseInTheIndex) {
  for (const std::string& good : SmallFiles()) {
    const uint64_t index_bytes = LoadBe64(AsBytes(good).last(24).data());
    std::string bytes = good;
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
      Result<LtxSpec> spec = ReadAll(bytes);
      const bool in_index = bit / 8 >= good.size() - 24 - index_bytes && bit / 8 < good.size() - 16;
      ASSERT_FALSE(spec.ok() && in_index) << "byte " << bit / 8;
      ASSERT_TRUE(spec.ok() || spec.code() == Errc::kCorrupt) << spec.error().message();
      bytes[bit / 8] = good[bit / 8];
    }
  }
}

TEST(IndexReader, RefusesFramesThatDoNotLieEndToEnd) {
  std::string bytes = ToBytes(Commit(512, 2, {{3, Page(512, 'a')}, {9, Page(512, 'b')}}));
  const size_t index = bytes.size() - 24 - LoadBe64(AsBytes(bytes).last(24).data());
  ASSERT_EQ(bytes[index + 1], static_cast<char>(kHeaderBytes));
  ++bytes[index + 1];
  RandomBytesSource source(AsBytes(bytes));
  Result<IndexReader> reader = IndexReader::Open(source);
  ASSERT_FALSE(reader.ok());
  EXPECT_EQ(reader.error().message(), "ltx index: page 3 at 101 instead of 100");
}

TEST(IndexReader, RefusesAFrameOfAnotherPage) {
  std::string bytes = ToBytes(Commit(512, 2, {{3, Page(512, 'a')}, {9, Page(512, 'b')}}));
  bytes[kHeaderBytes + 3] = 4;
  Result<LtxSpec> spec = ReadAll(bytes);
  ASSERT_FALSE(spec.ok());
  EXPECT_EQ(spec.error().message(), "ltx index: page 3: page 4 is there");
}

}  // namespace
}  // namespace runnel::ltx
