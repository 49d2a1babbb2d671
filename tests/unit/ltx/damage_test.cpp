// Bytes that are not a sound LTX file: cut, flipped, and built by hand with a correct file checksum but a broken rule.
#include <gtest/gtest.h>
#include <lz4.h>
#include <lz4frame.h>

#include <optional>

#include "ltx/format/checksum.h"
#include "ltx/format/header.h"
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

std::vector<std::string> SmallFiles() {
  Image image{512, {}};
  LtxSpec first = image.Change(1, {{1, Page(512, 'a')}, {2, Page(512, 'b')}}, 2);
  image.Apply(first);
  std::string varied = Page(512, 'v');
  for (size_t i = 0; i < varied.size(); i += 3) varied[i] = static_cast<char>(i * i);
  LtxSpec second = image.Change(2, {{2, varied}, {5, Page(512, 'e')}}, 5);
  return {ToBytes(first), ToBytes(second), GoldenLtx("lit-512-delete-checksum.ltx"),
          GoldenLtx("go-0.5.17-l0-txid1-nochecksum.ltx"), GoldenLtx("go-0.5.1-legacy-frames.ltx")};
}

TEST(Decoder, RefusesEveryTruncation) {
  for (const std::string& bytes : SmallFiles()) {
    for (size_t size = 0; size < bytes.size(); ++size) {
      Result<LtxSpec> spec = FromBytes(bytes.substr(0, size));
      ASSERT_FALSE(spec.ok()) << size << " of " << bytes.size();
      ASSERT_EQ(spec.code(), Errc::kCorrupt) << spec.error().message();
    }
  }
}

TEST(Decoder, RefusesAnythingAfterTheTrailer) {
  for (const std::string& bytes : SmallFiles()) {
    EXPECT_EQ(FromBytes(bytes + '\0').code(), Errc::kCorrupt);
    EXPECT_EQ(FromBytes(bytes + bytes).code(), Errc::kCorrupt);
  }
}

TEST(Decoder, NeverYieldsOtherPagesForAFlippedBit) {
  for (const std::string& good : SmallFiles()) {
    const LtxSpec expected = *FromBytes(good);
    const size_t tail_bytes = 6 + LoadBe64(AsBytes(good).last(24).data()) + 24;
    std::string bytes = good;
    for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
      bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
      Result<LtxSpec> spec = FromBytes(bytes);
      if (spec.ok()) {
        // Another LZ4 spelling of the same page: only possible inside compressed pages.
        ASSERT_EQ(*spec, expected) << "bit " << bit;
        ASSERT_GE(bit / 8, kHeaderBytes + 6);
        ASSERT_LT(bit / 8, good.size() - tail_bytes);
      } else {
        ASSERT_EQ(spec.code(), Errc::kCorrupt) << spec.error().message();
      }
      bytes[bit / 8] = good[bit / 8];
    }
  }
}

// A file put together piece by piece, each of which a test may spoil; the file checksum is always right.
struct Forge {
  struct Frame {
    uint32_t pgno;
    uint16_t flags;
    std::string stored;  // what follows the page header
    std::string hashed;  // what the checksum sees of it
  };
  Header header;
  std::vector<Frame> frames;
  std::string end_marker = std::string(6, '\0');
  std::optional<std::string> index_entries;
  std::optional<uint64_t> index_bytes;
  Checksum post;

  static void AppendUvarint(std::string& out, uint64_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
    out.push_back(static_cast<char>(value));
  }

  static Frame BlockFrame(uint32_t pgno, const std::string& block, const std::string& page) {
    std::string size;
    AppendBe32(size, static_cast<uint32_t>(block.size()));
    return {pgno, 1, size + block, size + page};
  }
  static std::string Block(const std::string& page) {
    std::string block(LZ4_COMPRESSBOUND(page.size()), '\0');
    block.resize(static_cast<size_t>(LZ4_compress_default(page.data(), block.data(), static_cast<int>(page.size()),
                                                          static_cast<int>(block.size()))));
    return block;
  }
  void Add(uint32_t pgno, const std::string& page) { frames.push_back(BlockFrame(pgno, Block(page), page)); }

  std::string Bytes() const {
    Crc64 crc;
    std::string out = EncodeHeader(header);
    crc.Update(AsBytes(out));
    std::string index;
    for (const Frame& frame : frames) {
      std::string head;
      AppendBe32(head, frame.pgno);
      AppendBe16(head, frame.flags);
      AppendUvarint(index, frame.pgno);
      AppendUvarint(index, out.size());
      AppendUvarint(index, head.size() + frame.stored.size());
      crc.Update(AsBytes(head + frame.hashed));
      out += head + frame.stored;
    }
    if (index_entries) index = *index_entries;
    std::string tail = end_marker + index + '\0';
    AppendBe64(tail, index_bytes ? *index_bytes : index.size() + 1);
    AppendBe64(tail, post.raw());
    crc.Update(AsBytes(tail));
    AppendBe64(tail, Checksum::kFlag | crc.value());
    return out + tail;
  }
  std::string Why() const {
    Result<LtxSpec> spec = FromBytes(Bytes());
    if (spec.ok()) return "";
    EXPECT_EQ(spec.code(), Errc::kCorrupt);
    std::string message = spec.error().message();
    const size_t colon = message.find(": ");
    return message.substr(colon == std::string::npos ? 0 : colon + 2);
  }
};

Forge Increment(uint32_t commit = 9) {
  Forge forge;
  forge.header = Commit(512, 5, {{commit, ""}}).header;
  return forge;
}

Forge Snapshot(uint32_t commit) {
  Forge forge;
  forge.header = Commit(512, 1, {{commit, ""}}).header;
  return forge;
}

TEST(Forge, MakesSoundFilesUnlessToldOtherwise) {
  Forge forge = Increment();
  EXPECT_EQ(forge.Why(), "");
  forge.Add(3, Page(512, 'a'));
  forge.Add(9, Page(512, 'b'));
  EXPECT_EQ(forge.Why(), "");
  LtxSpec spec = *FromBytes(forge.Bytes());
  EXPECT_EQ(ToBytes(spec), forge.Bytes());
}

TEST(Decoder, RefusesPagesInWrongOrderOrPlace) {
  const std::string page = Page(512, 'a');
  auto why = [&](Forge forge, std::vector<uint32_t> pgnos) {
    for (uint32_t pgno : pgnos) forge.Add(pgno, page);
    return forge.Why();
  };
  EXPECT_EQ(why(Increment(), {5, 5}), "page 5 follows page 5");
  EXPECT_EQ(why(Increment(), {5, 4}), "page 4 follows page 5");
  EXPECT_EQ(why(Increment(), {10}), "page 10 is beyond the commit of 9 pages");
  EXPECT_EQ(why(Increment(3000000), {2097153}), "page 2097153 is the lock page");
  EXPECT_EQ(why(Increment(3000000), {2097152, 2097153}), "page 2097153 is the lock page");
  EXPECT_EQ(why(Snapshot(2), {1, 2}), "");
  EXPECT_EQ(why(Snapshot(2), {1}), "snapshot of 2 pages ends with page 1");
  EXPECT_EQ(why(Snapshot(2), {}), "snapshot of 2 pages ends with page 0");
  EXPECT_EQ(why(Snapshot(2), {2}), "snapshot lacks page 1");
  EXPECT_EQ(why(Snapshot(3), {1, 3}), "snapshot lacks page 2");
  EXPECT_EQ(why(Snapshot(2), {1, 2, 3}), "page 3 is beyond the commit of 2 pages");
}

TEST(Decoder, RefusesPagesThatAreNotOnePage) {
  auto why = [](const std::string& block, const std::string& page) {
    Forge forge = Increment();
    forge.frames.push_back(Forge::BlockFrame(1, block, page));
    return forge.Why();
  };
  EXPECT_EQ(why(Forge::Block(Page(511, 'a')), Page(512, 'a')), "page decompresses to 511 bytes instead of 512");
  EXPECT_EQ(why(Forge::Block(Page(513, 'a')), Page(512, 'a')), "page is not an lz4 block");
  EXPECT_EQ(why("", Page(512, 'a')), "compressed page of 0 bytes");
  EXPECT_EQ(why(std::string(531, 'x'), Page(512, 'a')), "compressed page of 531 bytes");
  EXPECT_EQ(why(std::string(530, 'x'), Page(512, 'a')), "page is not an lz4 block");
  Forge huge = Increment();
  huge.frames.push_back({1, 1, FromHex("ffffffff"), ""});
  EXPECT_EQ(huge.Why(), "compressed page of 4294967295 bytes");
}

TEST(Decoder, RefusesBadPageHeaders) {
  for (uint16_t flags : {2, 3, 0x8000, 0xffff}) {
    Forge forge = Increment();
    forge.Add(1, Page(512, 'a'));
    forge.frames[0].flags = flags;
    EXPECT_EQ(forge.Why(), "unknown page flags " + std::to_string(flags));
  }
  Forge forge = Increment();
  forge.end_marker[5] = 1;
  EXPECT_EQ(forge.Why(), "page number 0");
}

TEST(Decoder, RefusesAnIndexThatIsNotThatOfThePages) {
  Forge good = Increment();
  good.Add(1, Page(512, 'a'));
  good.Add(2, Page(512, 'b'));
  const std::string size(1, static_cast<char>(good.frames[0].stored.size() + 6));
  const std::string second(1, static_cast<char>(100 + size[0]));
  ASSERT_LT(static_cast<unsigned char>(second[0]), 128);
  const std::string entries = "\x01\x64" + size + "\x02" + second + size;
  Forge same = good;
  same.index_entries = entries;
  ASSERT_EQ(same.Bytes(), good.Bytes());
  for (size_t i = 0; i < entries.size(); ++i) {
    Forge other = good;
    other.index_entries = entries;
    ++(*other.index_entries)[i];
    EXPECT_EQ(other.Why(), "page index is not that of the pages") << i;
  }
  Forge shorter = good;
  shorter.index_entries = entries.substr(0, 3);
  EXPECT_NE(shorter.Why(), "");
  Forge longer = good;
  longer.index_entries = entries + "\x03\x01\x01";
  EXPECT_EQ(longer.Why(), "page index has an entry without a page");
  for (uint64_t bytes : {uint64_t{0}, uint64_t{6}, uint64_t{8}, ~uint64_t{0}}) {
    Forge wrong = good;
    wrong.index_bytes = bytes;
    EXPECT_EQ(wrong.Why(), "page index size " + std::to_string(bytes) + " instead of 7");
  }
}

// A short index is compared as it is, a long one by its sum.
TEST(Decoder, RefusesADamagedIndexOfAnyLength) {
  for (uint32_t pages : {1, 2, 30, 40, 60, 110, 200}) {
    Forge good = Increment(pages);
    std::string entries;
    size_t offset = kHeaderBytes;
    for (uint32_t pgno = 1; pgno <= pages; ++pgno) {
      good.Add(pgno, Page(512, 'a'));
      const size_t frame_bytes = 6 + good.frames.back().stored.size();
      for (uint64_t value : {uint64_t{pgno}, uint64_t{offset}, uint64_t{frame_bytes}}) {
        Forge::AppendUvarint(entries, value);
      }
      offset += frame_bytes;
    }
    EXPECT_EQ(good.Why(), "") << pages;
    for (size_t i = 0; i < entries.size(); ++i) {
      Forge other = good;
      other.index_entries = entries;
      (*other.index_entries)[i] = static_cast<char>(entries[i] ^ 1);
      EXPECT_EQ(other.Why(), "page index is not that of the pages") << pages << " pages, byte " << i;
    }
  }
}

TEST(Decoder, RefusesTrailersAgainstTheRules) {
  Forge untracked = Increment();
  untracked.post = Checksum::Empty();
  EXPECT_EQ(untracked.Why(), "post-apply checksum although checksums are not tracked");
  Forge tracked = Increment();
  tracked.header.no_checksum = false;
  tracked.header.pre_apply_checksum = Checksum::Empty();
  EXPECT_EQ(tracked.Why(), "post-apply checksum 0000000000000000 lacks its flag bit");
  tracked.post = Checksum(Checksum::kFlag | 77);
  EXPECT_EQ(tracked.Why(), "") << "only who applies an increment can know its checksum";
  tracked.header.commit = 0;
  EXPECT_EQ(tracked.Why(), "post-apply checksum 800000000000004d of a database without pages");
  tracked.post = Checksum::Empty();
  EXPECT_EQ(tracked.Why(), "");
}

TEST(Decoder, RefusesASnapshotWhosePagesDoNotHaveItsChecksum) {
  Forge forge = Snapshot(1);
  forge.header.no_checksum = false;
  forge.Add(1, Page(512, 0));
  forge.post = PageChecksum(Pgno(1), AsBytes(Page(512, 0)));
  EXPECT_EQ(forge.Why(), "");
  forge.post = Checksum(forge.post.raw() ^ 1);
  EXPECT_EQ(forge.Why(), "post-apply checksum efb1f44fecd99001 of pages with efb1f44fecd99000");
}

TEST(Decoder, AcceptsAndHashesReservedHeaderBytes) {
  Forge forge = Increment();
  forge.Add(1, Page(512, 'a'));
  std::string bytes = forge.Bytes();
  bytes[85] = 'r';
  EXPECT_EQ(FromBytes(bytes).code(), Errc::kCorrupt) << "hashed, and the checksum is the old one";
  // CRC is linear: the checksum moves by the same amount for any two files that differ in this byte alone.
  Crc64 crc;
  const LtxSpec spec = *FromBytes(forge.Bytes());
  crc.Update(AsBytes(bytes).first(kHeaderBytes));
  const size_t frame_end = kHeaderBytes + 6 + forge.frames[0].stored.size();
  crc.Update(AsBytes(bytes).subspan(kHeaderBytes, 10));
  crc.Update(AsBytes(spec.pages.at(1)));
  crc.Update(AsBytes(bytes).subspan(frame_end, bytes.size() - 8 - frame_end));
  bytes.resize(bytes.size() - 8);
  AppendBe64(bytes, Checksum::kFlag | crc.value());
  Result<LtxSpec> accepted = FromBytes(bytes);
  ASSERT_TRUE(accepted.ok()) << accepted.error().message();
  EXPECT_EQ(accepted->pages, spec.pages);
}

std::string Lz4Frame(const std::string& page, LZ4F_blockMode_t mode = LZ4F_blockIndependent) {
  LZ4F_preferences_t preferences = {};
  preferences.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled;
  preferences.frameInfo.blockMode = mode;
  std::string frame(LZ4F_compressFrameBound(page.size(), &preferences), '\0');
  frame.resize(LZ4F_compressFrame(frame.data(), frame.size(), page.data(), page.size(), &preferences));
  return frame;
}

TEST(Decoder, ReadsLegacyAndCurrentPagesMixed) {
  Forge forge = Snapshot(4);
  forge.frames.push_back({1, 0, Lz4Frame(Page(512, 'a')), Page(512, 'a')});
  forge.Add(2, Page(512, 'b'));
  forge.frames.push_back({3, 0, Lz4Frame(Page(512, 'c'), LZ4F_blockLinked), Page(512, 'c')});
  forge.frames.push_back({4, 0, Lz4Frame(Page(512, 'd')), Page(512, 'd')});
  EXPECT_EQ(forge.Why(), "");
  EXPECT_EQ(FromBytes(forge.Bytes())->pages.at(4), Page(512, 'd'));
}

TEST(Decoder, RefusesLegacyFramesThatAreNotOnePage) {
  auto why = [](const std::string& frame) {
    Forge forge = Increment();
    forge.frames.push_back({1, 0, frame, Page(512, 'a')});
    return forge.Why();
  };
  EXPECT_EQ(why(Lz4Frame(Page(512, 'a'))), "");
  EXPECT_EQ(why(Lz4Frame(Page(511, 'a'))), "page decompresses to 511 bytes instead of 512");
  EXPECT_NE(why(Lz4Frame(Page(513, 'a'))), "");
  EXPECT_NE(why(Lz4Frame(Page(70000, 'a'))), "");
  EXPECT_EQ(why(FromHex("502a4d1800000000")), "page decompresses to 0 bytes instead of 512") << "a skippable frame";
  // Blocks of no bytes, without end.
  std::string endless = Lz4Frame(Page(512, 'a')).substr(0, 7);
  for (int i = 0; i < 1000; ++i) endless += FromHex("00000080");
  EXPECT_NE(why(endless), "");
}

}  // namespace
}  // namespace runnel::ltx
