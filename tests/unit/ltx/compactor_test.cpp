#include "ltx/format/compactor.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

#include "tests/support/ltx_spec.h"
#include "tests/unit/ltx/golden.h"

namespace runnel::ltx {
namespace {

using testing::Commit;
using testing::FromBytes;
using testing::GoldenLtx;
using testing::Image;
using testing::LtxSpec;
using testing::Page;
using testing::Range;
using testing::ToBytes;
using PageMap = std::map<uint32_t, std::string>;

// Sources over files that it keeps.
class Inputs {
 public:
  explicit Inputs(std::vector<std::string> files) : files_(std::move(files)) {
    for (const std::string& file : files_) {
      sources_.push_back(std::make_unique<BytesSource>(AsBytes(file)));
      pointers_.push_back(sources_.back().get());
    }
  }
  std::span<ByteSource* const> all() const { return pointers_; }

 private:
  const std::vector<std::string> files_;
  std::vector<std::unique_ptr<BytesSource>> sources_;
  std::vector<ByteSource*> pointers_;
};

Result<LtxSpec> CompactedFiles(std::vector<std::string> files, ChecksumMode mode) {
  Inputs inputs(std::move(files));
  StringSink sink;
  TRY_ASSIGN(Compacted result, Compact(inputs.all(), sink, mode));
  const std::string bytes = sink.Take();
  TRY_ASSIGN(LtxSpec spec, FromBytes(bytes));
  EXPECT_EQ(result.header, spec.header);
  EXPECT_EQ(result.trailer, spec.trailer);
  EXPECT_EQ(result.bytes, bytes.size());
  return spec;
}

Result<LtxSpec> CompactedSpecs(const std::vector<LtxSpec>& specs, ChecksumMode mode) {
  std::vector<std::string> files;
  for (const LtxSpec& spec : specs) files.push_back(ToBytes(spec));
  return CompactedFiles(std::move(files), mode);
}

std::string Why(const std::vector<LtxSpec>& specs, ChecksumMode mode, Errc code) {
  Result<LtxSpec> spec = CompactedSpecs(specs, mode);
  if (spec.ok()) return "";
  EXPECT_EQ(spec.code(), code) << spec.error().message();
  return spec.error().message();
}

TEST(Compact, TakesTheHeaderFieldsFromWhereTheFormatSays) {
  Image image{512, {}};
  image.Apply(image.Change(1, {{1, Page(512, 'a')}, {2, Page(512, 'b')}, {3, Page(512, 'c')}}, 3));
  LtxSpec second = image.Change(2, {{1, Page(512, 'd')}, {3, Page(512, 'e')}}, 3);
  second.header.timestamp_ms = 2000;
  second.header.node_id = 7;
  image.Apply(second);
  LtxSpec third = image.Change(3, {{1, Page(512, 'f')}}, 2);
  third.header.timestamp_ms = 1000;
  third.header.wal_offset = 32;
  third.header.wal_salt1 = 9;
  LtxSpec result = *CompactedSpecs({second, third}, ChecksumMode::kKeep);

  Header expected;
  expected.page_size = PageSize(512);
  expected.commit = 2;
  expected.min_txid = Txid(2);
  expected.max_txid = Txid(3);
  expected.timestamp_ms = 1000;
  expected.pre_apply_checksum = second.header.pre_apply_checksum;
  EXPECT_EQ(result.header, expected);
  EXPECT_EQ(result.trailer.post_apply_checksum, third.trailer.post_apply_checksum);
  EXPECT_EQ(result.pages, (PageMap{{1, Page(512, 'f')}}))
      << "page 3 is beyond the last commit, though the newest of its kind";

  expected.no_checksum = true;
  expected.pre_apply_checksum = Checksum();
  LtxSpec dropped = *CompactedSpecs({second, third}, ChecksumMode::kDrop);
  EXPECT_EQ(dropped.header, expected);
  EXPECT_EQ(dropped.trailer.post_apply_checksum, Checksum());
}

TEST(Compact, MakesOfLitestreamsLevelOneWhatLitestreamMadeOfIt) {
  const std::string folder = "litestream-0.5.18/";
  LtxSpec ours = *CompactedFiles({GoldenLtx(folder + "1/0000000000000001-0000000000000003.ltx"),
                                  GoldenLtx(folder + "1/0000000000000004-0000000000000005.ltx"),
                                  GoldenLtx(folder + "1/0000000000000006-000000000000000c.ltx")},
                                 ChecksumMode::kDrop);
  LtxSpec theirs = *FromBytes(GoldenLtx(folder + "2/0000000000000001-000000000000000c.ltx"));
  EXPECT_EQ(ours.header, theirs.header);
  EXPECT_EQ(ours.pages, theirs.pages);
}

TEST(Compact, RestoresALitestreamArchiveFromOverlappingFiles) {
  const std::string folder = "litestream-0.5.18/";
  std::vector<std::string> files = {GoldenLtx(folder + "9/0000000000000001-000000000000001c.ltx"),
                                    GoldenLtx(folder + "1/000000000000001b-0000000000000020.ltx")};
  for (char digit : {'1', '2', '3', '4'}) {
    const std::string txid = std::string("000000000000002") + digit;
    files.push_back(GoldenLtx(folder + "0/" + txid + "-" + txid + ".ltx"));
  }
  LtxSpec spec = *CompactedFiles(files, ChecksumMode::kDrop);
  EXPECT_EQ(spec.header.max_txid, Txid(0x24));
  Image image;
  image.Apply(spec);
  EXPECT_EQ(image.pages.size(), 34u);
  EXPECT_EQ(ToString(image.Sum()), "de43957dd4b28a2f") << "of the source database, computed by other code";
}

// Random histories against applying one commit after the other.
class CompactRandom : public ::testing::TestWithParam<uint32_t> {};

PageMap RandomChanges(const Image& image, uint32_t commit, std::mt19937& random) {
  PageMap changes;
  for (auto pgno = static_cast<uint32_t>(image.pages.size() + 1); pgno <= commit; ++pgno) changes[pgno];
  for (int i = 0; i < 4; ++i) changes[1 + random() % commit];
  for (auto& [pgno, page] : changes) {
    page = Page(image.page_size, static_cast<char>(random()));
    page[random() % page.size()] = static_cast<char>(random());
  }
  return changes;
}

std::vector<LtxSpec> Slice(const std::vector<LtxSpec>& history, size_t begin, size_t end) {
  return {history.begin() + static_cast<long>(begin), history.begin() + static_cast<long>(end)};
}

TEST_P(CompactRandom, EqualsApplyingOneAfterTheOther) {
  std::mt19937 random(GetParam());
  for (int round = 0; round < 40; ++round) {
    Image image{512, {}};
    std::vector<LtxSpec> history;
    std::vector<Image> images = {image};
    for (uint64_t txid = 1; txid <= 12; ++txid) {
      const uint32_t commit = 1 + random() % 30;
      LtxSpec spec = image.Change(txid, RandomChanges(image, commit, random), commit);
      spec.header.timestamp_ms = static_cast<int64_t>(txid);
      image.Apply(spec);
      history.push_back(spec);
      images.push_back(image);
    }
    const size_t begin = random() % history.size();
    const size_t end = begin + 1 + random() % (history.size() - begin);
    const ChecksumMode mode = random() % 2 == 0 ? ChecksumMode::kKeep : ChecksumMode::kDrop;
    LtxSpec result = *CompactedSpecs(Slice(history, begin, end), mode);
    EXPECT_EQ(result.header.min_txid, Txid(begin + 1));
    EXPECT_EQ(result.header.max_txid, Txid(end));
    EXPECT_EQ(result.header.timestamp_ms, static_cast<int64_t>(end));
    image = images[begin];
    image.Apply(result);
    ASSERT_EQ(image, images[end]);
    if (mode == ChecksumMode::kKeep) {
      EXPECT_EQ(result.trailer.post_apply_checksum, images[end].Sum());
      EXPECT_EQ(result.header.pre_apply_checksum, begin == 0 ? Checksum() : images[begin].Sum());
    }
    // Compacting compactions is the same again.
    if (end - begin < 2) continue;
    const size_t middle = begin + 1 + random() % (end - begin - 1);
    LtxSpec older = *CompactedSpecs(Slice(history, begin, middle), mode);
    LtxSpec newer = *CompactedSpecs(Slice(history, middle, end), mode);
    LtxSpec twice = *CompactedSpecs({older, newer}, mode);
    ASSERT_EQ(twice, result);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, CompactRandom, ::testing::Range(1u, 6u));

TEST(Compact, MergesAThousandFiles) {
  Image image{512, {}};
  std::vector<LtxSpec> history;
  std::mt19937 random(5);
  for (uint64_t txid = 1; txid <= 1000; ++txid) {
    const uint32_t commit = 20 + random() % 5;
    history.push_back(image.Change(txid, RandomChanges(image, commit, random), commit));
    image.Apply(history.back());
  }
  LtxSpec result = *CompactedSpecs(history, ChecksumMode::kKeep);
  Image restored{512, {}};
  restored.Apply(result);
  EXPECT_EQ(restored, image);
}

TEST(Compact, OfOneFileIsThatFileWithoutItsOrigin) {
  LtxSpec spec = *FromBytes(GoldenLtx("lit-512-inc-checksum.ltx"));
  LtxSpec result = *CompactedSpecs({spec}, ChecksumMode::kKeep);
  spec.header.wal_offset = spec.header.wal_bytes = spec.header.wal_salt1 = spec.header.wal_salt2 = spec.header.node_id =
      0;
  EXPECT_EQ(result.header, spec.header);
  EXPECT_EQ(result.pages, spec.pages);
}

TEST(Compact, RefusesInputsThatAreNotNeighbours) {
  const LtxSpec one = Range(512, 1, 3, {{1, Page(512, 'a')}});
  EXPECT_EQ(Why({one, Commit(512, 4, {{1, Page(512, 'b')}})}, ChecksumMode::kDrop, Errc::kGap), "");
  EXPECT_EQ(Why({one, Range(512, 2, 4, {{1, Page(512, 'b')}})}, ChecksumMode::kDrop, Errc::kGap), "");
  EXPECT_EQ(Why({one, Commit(512, 5, {{1, Page(512, 'b')}})}, ChecksumMode::kDrop, Errc::kGap),
            "0000000000000001-0000000000000003.ltx, then 0000000000000005-0000000000000005.ltx: txids are missing in "
            "between");
  EXPECT_NE(Why({one, Commit(512, 3, {{1, Page(512, 'b')}})}, ChecksumMode::kDrop, Errc::kInvalid), "");
  EXPECT_NE(Why({one, Commit(1024, 4, {{1, Page(1024, 'b')}})}, ChecksumMode::kDrop, Errc::kInvalid), "");
}

TEST(Compact, KeepsChecksumsOnlyIfTheInputsGiveThem) {
  Image image{512, {}};
  LtxSpec tracked1 = image.Change(1, {{1, Page(512, 'a')}}, 1);
  image.Apply(tracked1);
  LtxSpec tracked2 = image.Change(2, {{1, Page(512, 'b')}}, 1);
  image.Apply(tracked2);
  LtxSpec tracked3 = image.Change(3, {{1, Page(512, 'c')}}, 1);
  LtxSpec bare1 = Commit(512, 1, tracked1.pages);
  LtxSpec bare2 = Commit(512, 2, tracked2.pages);
  LtxSpec bare3 = Commit(512, 3, tracked3.pages);
  EXPECT_EQ(Why({tracked1, tracked2}, ChecksumMode::kKeep, Errc::kInvalid), "");
  EXPECT_EQ(Why({tracked1, bare2, tracked3}, ChecksumMode::kKeep, Errc::kInvalid), "");
  EXPECT_EQ(Why({bare1, tracked2}, ChecksumMode::kKeep, Errc::kInvalid), "") << "a snapshot has no pre-apply checksum";
  EXPECT_NE(Why({tracked1, bare2}, ChecksumMode::kKeep, Errc::kInvalid), "");
  EXPECT_NE(Why({bare2, tracked3}, ChecksumMode::kKeep, Errc::kInvalid), "");
  EXPECT_EQ(Why({tracked1, bare2}, ChecksumMode::kDrop, Errc::kInvalid), "");
  EXPECT_EQ(Why({tracked2, bare3}, ChecksumMode::kDrop, Errc::kInvalid), "");
}

TEST(Compact, FindsAForkBetweenItsInputs) {
  Image image{512, {}};
  LtxSpec first = image.Change(1, {{1, Page(512, 'a')}}, 1);
  image.Apply(first);
  image.Apply(Commit(512, 2, {{1, Page(512, 'x')}}));
  LtxSpec other = image.Change(2, {{1, Page(512, 'b')}}, 1);
  EXPECT_NE(Why({first, other}, ChecksumMode::kKeep, Errc::kCorrupt), "");
  EXPECT_NE(Why({first, other}, ChecksumMode::kDrop, Errc::kCorrupt), "");
}

TEST(Compact, FindsASnapshotThatIsNotComplete) {
  const LtxSpec first = Range(512, 1, 1, {{1, Page(512, 'a')}});
  LtxSpec hole = Commit(512, 2, {{3, Page(512, 'c')}});
  EXPECT_EQ(Why({first, hole}, ChecksumMode::kDrop, Errc::kCorrupt),
            "0000000000000001-0000000000000002.ltx: page 2 is in none of the inputs");
  LtxSpec tail = Commit(512, 2, {{2, Page(512, 'c')}});
  tail.header.commit = 3;
  EXPECT_EQ(Why({first, tail}, ChecksumMode::kDrop, Errc::kCorrupt),
            "0000000000000001-0000000000000002.ltx: ends with page 2 of 3");
}

TEST(Compact, FindsPagesThatCameBackFromBeforeACut) {
  Image image{512, {}};
  LtxSpec first = image.Change(1, {{1, Page(512, 'a')}, {2, Page(512, 'b')}}, 2);
  image.Apply(first);
  LtxSpec cut = image.Change(2, {{1, Page(512, 'c')}}, 1);
  image.Apply(cut);
  LtxSpec grown = image.Change(3, {{1, Page(512, 'd')}, {2, Page(512, 'e')}}, 2);
  EXPECT_EQ(Why({first, cut, grown}, ChecksumMode::kDrop, Errc::kCorrupt), "");
  grown.pages.erase(2);  // against the writer's rule
  EXPECT_NE(Why({first, cut, grown}, ChecksumMode::kDrop, Errc::kCorrupt), "");
}

TEST(Compact, VerifiesEveryInputToItsEnd) {
  Image image{512, {}};
  std::vector<std::string> files;
  for (uint64_t txid = 1; txid <= 3; ++txid) {
    LtxSpec spec = image.Change(txid, {{1, Page(512, static_cast<char>('a' + txid))}}, 1);
    image.Apply(spec);
    files.push_back(ToBytes(spec));
  }
  ASSERT_TRUE(CompactedFiles(files, ChecksumMode::kKeep).ok());
  for (size_t i = 0; i < files.size(); ++i) {
    for (size_t from_end : {1, 9, 20, 27, 30}) {
      std::vector<std::string> bad = files;
      bad[i][bad[i].size() - from_end] ^= 1;
      EXPECT_EQ(CompactedFiles(bad, ChecksumMode::kKeep).code(), Errc::kCorrupt) << i << " " << from_end;
      bad[i].resize(bad[i].size() - from_end);
      EXPECT_EQ(CompactedFiles(bad, ChecksumMode::kDrop).code(), Errc::kCorrupt) << i << " " << from_end;
    }
  }
}

TEST(Compact, CannotDropTheChecksumOfADatabaseWithoutPages) {
  Image image{512, {}};
  LtxSpec first = image.Change(1, {{1, Page(512, 'a')}}, 1);
  image.Apply(first);
  LtxSpec gone = image.Change(2, {}, 0);
  LtxSpec result = *CompactedSpecs({first, gone}, ChecksumMode::kKeep);
  EXPECT_EQ(result.header.commit, 0u);
  EXPECT_EQ(result.pages.size(), 0u);
  EXPECT_NE(Why({first, gone}, ChecksumMode::kDrop, Errc::kInvalid), "");
}

TEST(Merger, RefusesCallsOutOfOrder) {
  Inputs inputs({ToBytes(Commit(512, 1, {{1, Page(512, 'a')}}))});
  Merger merger(inputs.all());
  EXPECT_EQ(merger.Next().code(), Errc::kInvalid);
  ASSERT_TRUE(merger.Begin().ok());
  EXPECT_EQ(merger.Begin().code(), Errc::kInvalid);
  EXPECT_EQ(merger.Finish().code(), Errc::kInvalid);
}

}  // namespace
}  // namespace runnel::ltx
