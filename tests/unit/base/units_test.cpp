#include "ltx/base/units.h"

#include <gtest/gtest.h>

namespace runnel {
namespace {

using std::chrono::milliseconds;

TEST(Units, DurationsAreReadWithTheirUnit) {
  EXPECT_EQ(*ParseDuration("500ms"), milliseconds(500));
  EXPECT_EQ(*ParseDuration("10s"), milliseconds(10000));
  EXPECT_EQ(*ParseDuration("5m"), milliseconds(300000));
  EXPECT_EQ(*ParseDuration("1h30m"), milliseconds(5400000));
  EXPECT_EQ(*ParseDuration("7d"), milliseconds(604800000));
  EXPECT_EQ(*ParseDuration("1.5s"), milliseconds(1500));
  EXPECT_EQ(*ParseDuration("0"), milliseconds(0));
}

TEST(Units, DurationsWithoutOrWithAWrongUnitAreRefused) {
  for (const char* text : {"", "10", "s", "10 s", "-1s", "10x", "1s2", "1..5s", ".5s", "1.s", "1e3s", "99999999999d"}) {
    EXPECT_EQ(ParseDuration(text).ok(), false) << text;
  }
}

TEST(Units, SizesKnowBothFamiliesOfUnits) {
  EXPECT_EQ(*ParseSize("64MiB"), uint64_t{64} << 20);
  EXPECT_EQ(*ParseSize("1.5 KiB"), 1536u);
  EXPECT_EQ(*ParseSize("10GB"), 10000000000u);
  EXPECT_EQ(*ParseSize("2TiB"), uint64_t{2} << 40);
  EXPECT_EQ(*ParseSize("4096"), 4096u);
  EXPECT_EQ(*ParseSize("512B"), 512u);
  for (const char* text : {"", "MiB", "1M", "-1", "1 MiB 2", "99999999TiB", "0x10"}) {
    EXPECT_EQ(ParseSize(text).ok(), false) << text;
  }
}

TEST(Units, AmountsAreShownShort) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1536), "1.5 KiB");
  EXPECT_EQ(FormatBytes(uint64_t{310} << 20), "310 MiB");
  EXPECT_EQ(FormatBytes((uint64_t{1} << 30) - 1), "1.0 GiB");
  EXPECT_EQ(FormatCount(999), "999");
  EXPECT_EQ(FormatCount(12345), "12.3k");
  EXPECT_EQ(FormatCount(4560000), "4.56M");
}

}  // namespace
}  // namespace runnel
