#include "ltx/sqlite/wal_format.h"

#include <gtest/gtest.h>

#include <cstring>

namespace runnel::sqlite {
namespace {

TEST(WalFormat, HeaderRoundTripsAndRefusesEveryFlippedBit) {
  WalHeader header;
  header.page_size = 4096;
  header.sequence = 7;
  header.salt[0] = 0x11223344;
  header.salt[1] = 0x55667788;
  std::byte bytes[kWalHeaderBytes];
  EncodeWalHeader(header, bytes);
  auto parsed = ParseWalHeader(bytes);
  ASSERT_TRUE(parsed.has_value());
  EXPECT_EQ(parsed->page_size, 4096u);
  EXPECT_EQ(parsed->sequence, 7u);
  EXPECT_TRUE(SameSalt(parsed->salt, header.salt));
  for (size_t bit = 0; bit < kWalHeaderBytes * 8; ++bit) {
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    EXPECT_FALSE(ParseWalHeader(bytes).has_value()) << "bit " << bit;
    bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
  }
}

TEST(WalIndex, GeometryMatchesSqlite) {
  EXPECT_EQ(BlockOfFrame(1), 0u);
  EXPECT_EQ(BlockOfFrame(4062), 0u);
  EXPECT_EQ(BlockOfFrame(4063), 1u);
  EXPECT_EQ(BlockOfFrame(4062 + 4096), 1u);
  EXPECT_EQ(BlockOfFrame(4062 + 4097), 2u);
  EXPECT_EQ(FramesBefore(2), 4062u + 4096u);
  EXPECT_EQ(PageSizeCode(65536), 1);
  WalIndexHeader header{};
  header.page_size_code = 1;
  EXPECT_EQ(PageSizeOf(header), 65536u);
  header.page_size_code = 512;
  EXPECT_EQ(PageSizeOf(header), 512u);
}

}  // namespace
}  // namespace runnel::sqlite
