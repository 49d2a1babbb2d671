#include "ltx/format/types.h"

#include <gtest/gtest.h>

namespace runnel {
namespace {

TEST(Types, TxidTextIsSixteenHexDigits) {
  EXPECT_EQ(ToString(Txid(0xabc)), "0000000000000abc");
  EXPECT_EQ(ParseTxid("0000000000000ABC"), Txid(0xabc));
  EXPECT_EQ(ParseTxid("abc"), std::nullopt);
  EXPECT_EQ(ParseTxid("00000000000000xy"), std::nullopt);
  EXPECT_EQ(ParseTxid("+000000000000abc"), std::nullopt);
}

TEST(Types, PositionTextParsesBackStrictly) {
  Position position{Txid(7), Checksum(0x8000000000000001)};
  EXPECT_EQ(ToString(position), "0000000000000007/8000000000000001");
  EXPECT_EQ(ParsePosition(ToString(position)), position);
  EXPECT_EQ(ParsePosition("0000000000000007-8000000000000001"), std::nullopt);
}

TEST(Types, LockPageIsTheOneAtOneGibibyte) {
  EXPECT_EQ(LockPage(PageSize(512)), Pgno(2097153));
  EXPECT_EQ(LockPage(PageSize(4096)), Pgno(262145));
  EXPECT_EQ(LockPage(PageSize(65536)), Pgno(16385));
}

TEST(Types, ChecksumKeepsItsFlag) {
  Checksum page(0x8000000000000005);
  EXPECT_EQ(Checksum::Empty().Toggle(page), page);
  EXPECT_EQ(page.Toggle(page), Checksum::Empty());
}

}  // namespace
}  // namespace runnel
