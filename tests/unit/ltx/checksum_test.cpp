#include "ltx/format/checksum.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

#include "tests/support/ltx_spec.h"

namespace runnel::ltx {
namespace {

using testing::Page;

// The definition, bit by bit.
uint64_t SlowCrc(Bytes bytes) {
  uint64_t crc = ~uint64_t{0};
  for (std::byte byte : bytes) {
    crc ^= std::to_integer<uint64_t>(byte);
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ 0xD800000000000000u : crc >> 1;
  }
  return ~crc;
}

uint64_t Crc(std::string_view text) {
  Crc64 crc;
  crc.Update(AsBytes(text));
  return crc.value();
}

TEST(Crc64, HasTheCheckValueOfGoIso) {
  EXPECT_EQ(Crc("123456789"), 0xb90956c775a41001u);
  EXPECT_EQ(Crc(""), 0u);
}

TEST(Crc64, AgreesWithTheDefinitionAtEachLengthAndSplit) {
  std::mt19937 random(1);
  std::string text(700, '\0');
  for (char& c : text) c = static_cast<char>(random());
  for (size_t length = 0; length <= text.size(); ++length) {
    Bytes bytes = AsBytes(text).first(length);
    Crc64 crc;
    const size_t split = length == 0 ? 0 : random() % length;
    crc.Update(bytes.first(split));
    crc.Update(bytes.subspan(split));
    ASSERT_EQ(crc.value(), SlowCrc(bytes)) << length << " split at " << split;
  }
}

// Any two versions of a page: what a rolling checksum becomes does not depend on how it is computed.
TEST(PageChange, IsWhatTogglingBothVersionsIs) {
  std::mt19937_64 random(5);
  for (uint32_t page_size : {512u, 4096u, 65536u}) {
    const PageChange change{PageSize(page_size)};
    for (int round = 0; round < 400; ++round) {
      std::string before(page_size, '\0');
      for (char& c : before) c = static_cast<char>(random());
      std::string after = before;
      size_t begin = random() % (page_size + 1);
      size_t end = round % 4 == 0 ? begin : begin + random() % (page_size - begin + 1);
      if (round % 8 == 1) begin = 0;
      if (round % 8 == 2) end = page_size;
      for (size_t i = begin; i < end; ++i) after[i] = static_cast<char>(random());
      const Pgno pgno(1 + static_cast<uint32_t>(random() % 100000));
      const Checksum sum(Checksum::kFlag | random());  // of an image in which anything may stand
      const Checksum expected =
          sum.Toggle(PageChecksum(pgno, AsBytes(before))).Toggle(PageChecksum(pgno, AsBytes(after)));
      ASSERT_EQ(sum.Toggle(change.Of(AsBytes(before), AsBytes(after), begin, end)), expected)
          << page_size << " from " << begin << " to " << end;
    }
  }
}

TEST(PageChecksum, HasTheValuesOfTheGoLibrary) {
  EXPECT_EQ(ToString(PageChecksum(Pgno(1), AsBytes(Page(512, 0)))), "efb1f44fecd99000");
  EXPECT_EQ(ToString(PageChecksum(Pgno(1), AsBytes(Page(4096, 0)))), "d9328f592d9e733d");
  EXPECT_EQ(ToString(PageChecksum(Pgno(2), AsBytes(Page(4096, 0)))), "f7901e47304ca33f");
  EXPECT_EQ(ToString(PageChecksum(Pgno(1), AsBytes(Page(65536, 0)))), "d5c47f5c6d11f7f2");
}

}  // namespace
}  // namespace runnel::ltx
