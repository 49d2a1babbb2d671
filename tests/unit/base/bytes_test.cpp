#include "ltx/base/bytes.h"

#include <gtest/gtest.h>

namespace runnel {
namespace {

TEST(ByteReader, ReadsBigEndianInOrder) {
  std::string text("\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f", 15);
  ByteReader reader(AsBytes(text));
  EXPECT_EQ(reader.U8(), 0x01);
  EXPECT_EQ(reader.Be16(), 0x0203);
  EXPECT_EQ(reader.Be32(), 0x04050607u);
  EXPECT_EQ(reader.Be64(), 0x08090a0b0c0d0e0fu);
  EXPECT_EQ(reader.remaining(), 0u);
  EXPECT_FALSE(reader.failed());
}

TEST(ByteReader, FailsOnceAndForAllPastTheEnd) {
  std::string text("\x01\x02\x03", 3);
  ByteReader reader(AsBytes(text));
  EXPECT_EQ(reader.Be32(), 0u);
  EXPECT_TRUE(reader.failed());
  EXPECT_EQ(reader.U8(), 0);
}

TEST(Hex, RoundTripsAndRefusesWhatIsNotHex) {
  EXPECT_EQ(ToHex(AsBytes(std::string_view("\x00\xff\x10", 3))), "00ff10");
  EXPECT_EQ(FromHex("00ff10"), std::string("\x00\xff\x10", 3));
  EXPECT_EQ(FromHex("0g"), "");
  EXPECT_EQ(FromHex("123"), "");
}

}  // namespace
}  // namespace runnel
