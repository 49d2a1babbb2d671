#include "ltx/sqlite/wal_format.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <random>
#include <string>

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

// wal.c's walChecksumBytes, word by word.
std::array<uint32_t, 2> SumOneByOne(bool big_endian, Bytes bytes, std::array<uint32_t, 2> sum) {
  for (size_t i = 0; i + 8 <= bytes.size(); i += 8) {
    uint32_t word[2];
    std::memcpy(word, bytes.data() + i, 8);
    sum[0] += (big_endian ? __builtin_bswap32(word[0]) : word[0]) + sum[1];
    sum[1] += (big_endian ? __builtin_bswap32(word[1]) : word[1]) + sum[0];
  }
  return sum;
}

TEST(WalIndex, ChecksumIsSqlitesAtEveryLengthAndStart) {
  std::mt19937 random(20260714);
  std::string text(65536, 0);
  for (char& c : text) c = static_cast<char>(random());
  const Bytes bytes = AsBytes(text);
  for (const bool big_endian : {false, true}) {
    auto check = [&](Bytes piece) {
      const std::array<uint32_t, 2> start = {static_cast<uint32_t>(random()), static_cast<uint32_t>(random())};
      uint32_t sum[2] = {start[0], start[1]};
      WalChecksum(big_endian, piece, sum);
      EXPECT_EQ((std::array<uint32_t, 2>{sum[0], sum[1]}), SumOneByOne(big_endian, piece, start))
          << piece.size() << " bytes";
    };
    for (size_t size = 0; size <= 1024; size += 8) check(bytes.subspan(8 * (random() % 1000), size));
    for (size_t size = 2048; size <= text.size(); size *= 2) check(bytes.first(size));
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
