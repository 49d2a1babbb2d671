#include "ltx/base/time.h"

#include <thread>

#include <gtest/gtest.h>

namespace runnel {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

TEST(Rfc3339, WritesUtcWithSixDecimals) {
  EXPECT_EQ(FormatRfc3339(WallTime(microseconds(0))), "1970-01-01T00:00:00.000000Z");
  EXPECT_EQ(FormatRfc3339(WallTime(seconds(1714564800) + microseconds(1234))), "2024-05-01T12:00:00.001234Z");
  EXPECT_EQ(FormatRfc3339(WallTime(microseconds(-1))), "1969-12-31T23:59:59.999999Z");
}

TEST(Rfc3339, ReadsBackWhatItWrites) {
  for (int64_t us : {int64_t{0}, int64_t{-1}, int64_t{1709164800000001}, int64_t{4102444799999999}}) {
    WallTime time{microseconds(us)};
    Result<WallTime> back = ParseRfc3339(FormatRfc3339(time));
    ASSERT_TRUE(back.ok());
    EXPECT_EQ(*back, time);
  }
}

TEST(Rfc3339, UnderstandsZonesAndAnyFraction) {
  WallTime noon(seconds(1714564800));
  EXPECT_EQ(*ParseRfc3339("2024-05-01T14:00:00+02:00"), noon);
  EXPECT_EQ(*ParseRfc3339("2024-05-01t06:30:00-05:30"), noon);
  EXPECT_EQ(*ParseRfc3339("2024-05-01 12:00:00z"), noon);
  EXPECT_EQ(*ParseRfc3339("2024-05-01T12:00:00.5Z"), noon + milliseconds(500));
  EXPECT_EQ(*ParseRfc3339("2024-05-01T12:00:00.0000019Z"), noon + microseconds(1));
}

TEST(Rfc3339, RefusesWhatIsNotAMoment) {
  for (const char* text :
       {"", "2024-05-01", "2024-05-01T12:00:00", "2024-02-30T12:00:00Z", "2024-05-01T24:00:00Z", "2024-05-01T12:60:00Z",
        "2024-05-01T12:00:00.Z", "2024-05-01T12:00:00Zx", "24-05-01T12:00:00Z", "2024-05-01T12:00:00+2:00",
        "2024-05-01T12:00:00+24:00", "2024-13-01T12:00:00Z"}) {
    Result<WallTime> time = ParseRfc3339(text);
    EXPECT_TRUE(!time.ok() && time.code() == Errc::kInvalid) << text;
  }
}

TEST(FormatDuration, ChoosesAUnitThatPeopleRead) {
  EXPECT_EQ(FormatDuration(microseconds(250)), "250us");
  EXPECT_EQ(FormatDuration(microseconds(1500)), "1.5ms");
  EXPECT_EQ(FormatDuration(milliseconds(2500)), "2.5s");
  EXPECT_EQ(FormatDuration(seconds(42)), "42s");
  EXPECT_EQ(FormatDuration(seconds(200)), "3m20s");
  EXPECT_EQ(FormatDuration(seconds(7500)), "2h05m");
  EXPECT_EQ(FormatDuration(seconds(3 * 86400 + 4 * 3600)), "3d04h");
  EXPECT_EQ(FormatDuration(seconds(-42)), "-42s");
}

TEST(Sleep, EndsAtOnceWhenAStopIsAskedFor) {
  std::stop_source source;
  std::jthread stopper([&source] { source.request_stop(); });
  Status slept = SleepUntil(NoDeadline(), source.get_token());
  ASSERT_FALSE(slept.ok());
  EXPECT_EQ(slept.code(), Errc::kCancelled);
}

TEST(Sleep, LastsUntilItsDeadline) {
  SteadyTime deadline = DeadlineIn(milliseconds(5));
  EXPECT_TRUE(SleepUntil(deadline, std::stop_token()).ok());
  EXPECT_GE(std::chrono::steady_clock::now(), deadline);
  EXPECT_EQ(TimeLeft(deadline), milliseconds(0));
}

TEST(Backoff, DoublesUpToItsLongestWithJitterBelow) {
  Backoff backoff(milliseconds(100), milliseconds(400), 7);
  for (int expected : {100, 200, 400, 400, 400}) {
    milliseconds wait = backoff.Next();
    EXPECT_LE(wait, milliseconds(expected));
    EXPECT_GE(wait, milliseconds(expected * 3 / 4));
  }
  backoff.Reset();
  EXPECT_LE(backoff.Next(), milliseconds(100));
}

}  // namespace
}  // namespace runnel
