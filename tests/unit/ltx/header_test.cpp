#include "ltx/format/header.h"

#include <gtest/gtest.h>

#include <functional>

#include "tests/support/ltx_spec.h"

namespace runnel::ltx {
namespace {

Header Increment() {
  Header header;
  header.page_size = PageSize(4096);
  header.commit = 10;
  header.min_txid = Txid(2);
  header.max_txid = Txid(3);
  header.pre_apply_checksum = Checksum(Checksum::kFlag | 5);
  return header;
}

Header Snapshot() {
  Header header = Increment();
  header.min_txid = Txid(1);
  header.pre_apply_checksum = Checksum();
  return header;
}

std::string WhyBroken(const Header& header) {
  Status valid = Validate(header);
  if (valid.ok()) return "";
  EXPECT_EQ(valid.code(), Errc::kCorrupt);
  Result<Header> decoded = DecodeHeader(AsBytes(EncodeHeader(header)));
  EXPECT_FALSE(decoded.ok()) << "what is broken must not be readable";
  return valid.error().message();
}

std::string WhyBroken(Header header, const std::function<void(Header&)>& change) {
  change(header);
  return WhyBroken(header);
}

TEST(Header, PutsEachFieldWhereTheFormatSaysSo) {
  Header header;
  header.no_checksum = true;
  header.page_size = PageSize(65536);
  header.commit = 0x01020304;
  header.min_txid = Txid(0x1112131415161718);
  header.max_txid = Txid(0x2122232425262728);
  header.timestamp_ms = 0x3132333435363738;
  header.wal_offset = 0x4142434445464748;
  header.wal_bytes = 0x5152535455565758;
  header.wal_salt1 = 0x61626364;
  header.wal_salt2 = 0x71727374;
  header.node_id = 0x8182838485868788;
  EXPECT_EQ(ToHex(AsBytes(EncodeHeader(header))),
            "4c545831"
            "00000002"
            "00010000"
            "01020304"
            "1112131415161718"
            "2122232425262728"
            "3132333435363738"
            "0000000000000000"
            "4142434445464748"
            "5152535455565758"
            "61626364"
            "71727374"
            "8182838485868788"
            "0000000000000000000000000000000000000000");
  Result<Header> back = DecodeHeader(AsBytes(EncodeHeader(header)));
  ASSERT_TRUE(back.ok()) << back.error().message();
  EXPECT_EQ(*back, header);

  Header increment = Increment();
  increment.timestamp_ms = -5;
  EXPECT_EQ(ToHex(AsBytes(EncodeHeader(increment)).subspan(32, 16)),
            "fffffffffffffffb"
            "8000000000000005");
  EXPECT_EQ(*DecodeHeader(AsBytes(EncodeHeader(increment))), increment);
}

TEST(Header, AcceptsWhatTheFormatAllows) {
  EXPECT_EQ(WhyBroken(Increment()), "");
  EXPECT_EQ(WhyBroken(Snapshot()), "");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.commit = 0; }), "");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.commit = kPgnoMax; }), "");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.no_checksum = true, h.pre_apply_checksum = Checksum(); }), "");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.wal_offset = 32, h.wal_salt1 = 1, h.wal_bytes = 5; }), "");
  for (uint32_t size = 512; size <= 65536; size *= 2) {
    EXPECT_EQ(WhyBroken(Increment(), [&](Header& h) { h.page_size = PageSize(size); }), "");
  }
  std::string reserved = EncodeHeader(Increment());
  reserved[99] = 1;
  EXPECT_EQ(*DecodeHeader(AsBytes(reserved)), Increment());
}

TEST(Header, RefusesEachBrokenRule) {
  for (uint32_t size : {0u, 1u, 256u, 513u, 131072u}) {
    EXPECT_EQ(WhyBroken(Increment(), [&](Header& h) { h.page_size = PageSize(size); }),
              "ltx header: page size " + std::to_string(size));
  }
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.min_txid = Txid(); }), "ltx header: min txid is 0");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.max_txid = Txid(); }), "ltx header: max txid is 0");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.min_txid = Txid(4); }),
            "ltx header: min txid 0000000000000004 is above max txid 0000000000000003");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.commit = 0xffffffff; }), "ltx header: commit of 4294967295 pages");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.wal_offset = uint64_t{1} << 63; }),
            "ltx header: wal offset is negative");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.wal_offset = 32, h.wal_bytes = uint64_t{1} << 63; }),
            "ltx header: wal size is negative");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.wal_salt1 = 1; }), "ltx header: wal salt without wal offset");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.wal_salt2 = 1; }), "ltx header: wal salt without wal offset");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.wal_bytes = 1; }), "ltx header: wal size without wal offset");
  EXPECT_EQ(WhyBroken(Snapshot(), [](Header& h) { h.pre_apply_checksum = Checksum::Empty(); }),
            "ltx header: pre-apply checksum on a snapshot");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.no_checksum = true; }),
            "ltx header: pre-apply checksum although checksums are not tracked");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.pre_apply_checksum = Checksum(); }),
            "ltx header: no pre-apply checksum");
  EXPECT_EQ(WhyBroken(Increment(), [](Header& h) { h.pre_apply_checksum = Checksum(7); }),
            "ltx header: pre-apply checksum 0000000000000007 lacks its flag bit");
}

TEST(Header, RefusesOtherMagicFlagsAndLengths) {
  const std::string good = EncodeHeader(Increment());
  std::string magic = good;
  magic[3] = '2';
  EXPECT_EQ(DecodeHeader(AsBytes(magic)).error().message(), "ltx header: magic is not LTX1");
  std::string flags = good;
  flags[7] = 1;
  EXPECT_EQ(DecodeHeader(AsBytes(flags)).error().message(), "ltx header: unknown flags 1");
  EXPECT_EQ(DecodeHeader(AsBytes(good).first(99)).error().message(), "ltx header: 99 bytes instead of 100");
  EXPECT_FALSE(DecodeHeader(AsBytes(good + "x")).ok());
}

TEST(Trailer, MustFitTheHeader) {
  Header tracked = Increment();
  EXPECT_TRUE(Validate(tracked, Trailer{Checksum(Checksum::kFlag | 1), 0}).ok());
  EXPECT_FALSE(Validate(tracked, Trailer{Checksum(1), 0}).ok());
  EXPECT_FALSE(Validate(tracked, Trailer{Checksum(), 0}).ok());
  tracked.commit = 0;
  EXPECT_TRUE(Validate(tracked, Trailer{Checksum::Empty(), 0}).ok());
  EXPECT_FALSE(Validate(tracked, Trailer{Checksum(Checksum::kFlag | 1), 0}).ok());
  Header untracked = testing::Commit(512, 2, {{1, ""}}).header;
  EXPECT_TRUE(Validate(untracked, Trailer{}).ok());
  EXPECT_FALSE(Validate(untracked, Trailer{Checksum::Empty(), 0}).ok());
  untracked.commit = 0;
  EXPECT_FALSE(Validate(untracked, Trailer{}).ok());
}

TEST(Header, NamesFilesAsLitestreamDoes) {
  EXPECT_EQ(FileName(Txid(1), Txid(0xabc)), "0000000000000001-0000000000000abc.ltx");
}

}  // namespace
}  // namespace runnel::ltx
