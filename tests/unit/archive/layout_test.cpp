#include "subscriber/archive/layout.h"

#include <gtest/gtest.h>

namespace runnel::archive {
namespace {

ObjectName Level(uint8_t level, uint64_t min, uint64_t max) {
  return {ObjectKind::kLevel, level, Txid(min), Txid(max)};
}
ObjectName Segment(uint64_t min, uint64_t max) { return {ObjectKind::kSegment, 0, Txid(min), Txid(max)}; }

TEST(Layout, IsLitestreamsTreeInDirectoriesAndNats) {
  for (const char* url : {"file:///var/archive", "nats://host/BUCKET", "tls://host/BUCKET"}) {
    Result<Layout> layout = Layout::ForUrl(url);
    ASSERT_TRUE(layout.ok());
    EXPECT_EQ(layout->Key(Level(0, 3, 9)), "ltx/0/0000000000000003-0000000000000009.ltx");
    EXPECT_EQ(layout->Key(Level(9, 1, 0x1c)), "ltx/9/0000000000000001-000000000000001c.ltx");
    EXPECT_EQ(layout->Key(Segment(3, 0xffffffffffffffff)), "segments/0000000000000003-ffffffffffffffff.seg");
  }
}

TEST(Layout, HasFourDigitsALevelInS3) {
  Result<Layout> layout = Layout::ForUrl("s3://bucket/prefix");
  ASSERT_TRUE(layout.ok());
  EXPECT_EQ(layout->Key(Level(0, 3, 9)), "0000/0000000000000003-0000000000000009.ltx");
  EXPECT_EQ(layout->Key(Level(9, 1, 0x1c)), "0009/0000000000000001-000000000000001c.ltx");
  EXPECT_EQ(layout->Key(Segment(1, 2)), "segments/0000000000000001-0000000000000002.seg");
}

TEST(Layout, RefusesStoresItDoesNotKnow) {
  EXPECT_EQ(Layout::ForUrl("gs://bucket").code(), Errc::kInvalid);
  EXPECT_EQ(Layout::ForUrl("/var/archive").code(), Errc::kInvalid);
}

TEST(Layout, ParsesWhatItMakes) {
  for (const char* scheme : {"s3", "file"}) {
    Layout layout = *Layout::ForScheme(scheme);
    for (const ObjectName& name :
         {Level(0, 1, 1), Level(1, 2, 900), Level(3, 7, 7), Level(8, 2, 3), Level(9, 1, 5), Segment(1, 2)}) {
      EXPECT_EQ(layout.Parse(layout.Key(name)), name) << scheme;
    }
  }
}

TEST(Layout, ParsesNothingElse) {
  Layout tree = *Layout::ForScheme("file");
  Layout s3 = *Layout::ForScheme("s3");
  const char* const kStrangers[] = {
      "",
      "manifest",
      "lease",
      "ltx",
      "ltx/0/",
      "ltx/0/0000000000000001-0000000000000002.ltx.tmp",
      "ltx/0/0000000000000002-0000000000000001.ltx",  // backwards
      "ltx/0/0000000000000000-0000000000000001.ltx",  // no TXID 0
      "ltx/9/0000000000000002-0000000000000003.ltx",  // a snapshot starts at 1
      "ltx/0/000000000000000A-000000000000000B.ltx",  // upper case
      "ltx/0/0000000000000001_0000000000000002.ltx",
      "ltx/0/x/0000000000000001-0000000000000002.ltx",
      "segments/0000000000000001-0000000000000002.ltx",
      "segments/00000000000000001-0000000000000002.seg",
      "other/0000000000000001-0000000000000002.seg",
  };
  for (const char* key : kStrangers) {
    EXPECT_FALSE(tree.Parse(key).has_value()) << key;
    EXPECT_FALSE(s3.Parse(key).has_value()) << key;
  }
  EXPECT_FALSE(s3.Parse("ltx/0/0000000000000001-0000000000000002.ltx").has_value());
  EXPECT_FALSE(tree.Parse("0000/0000000000000001-0000000000000002.ltx").has_value());
}

}  // namespace
}  // namespace runnel::archive
