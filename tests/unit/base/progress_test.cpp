#include "ltx/base/progress.h"

#include <algorithm>

#include <gtest/gtest.h>

namespace runnel {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::seconds;

class ManualClock : public Clock {
 public:
  WallTime Wall() const override { return WallTime(); }
  SteadyTime Now() const override { return now_; }
  void Advance(milliseconds step) { now_ += step; }

 private:
  SteadyTime now_{};
};

ProgressState HalfDone() {
  return {.title = "restore", .unit = ProgressUnit::kBytes, .done = 512 << 20, .total = 1 << 30, .elapsed = seconds(4)};
}

size_t Lines(const std::string& text) { return static_cast<size_t>(std::count(text.begin(), text.end(), '\n')); }

TEST(ProgressBar, ShowsShareAmountRateAndRest) {
  EXPECT_EQ(RenderProgressBar(HalfDone(), 84),
            "restore  [==============>             ]   50%  512 MiB / 1.0 GiB  128 MiB/s  4s left");
}

TEST(ProgressBar, FitsAnyWidth) {
  for (size_t width = 0; width <= 200; ++width) EXPECT_LE(RenderProgressBar(HalfDone(), width).size(), width);
  EXPECT_EQ(RenderProgressBar(HalfDone(), 60).find('['), std::string::npos);
}

TEST(ProgressBar, NeedsNoTotal) {
  ProgressState state = {.title = "verify", .unit = ProgressUnit::kCount, .done = 5000, .elapsed = seconds(2)};
  EXPECT_EQ(RenderProgressBar(state, 80), "verify  5k  2.5k/s");
  EXPECT_EQ(TimeRemaining(state), microseconds(0));
}

TEST(Progress, LogsOnlyWorkThatTakesLong) {
  ManualClock clock;
  Progress progress("restore", ProgressUnit::kCount, 100, Progress::Style::kLog, clock);
  ::testing::internal::CaptureStderr();
  for (int i = 0; i < 12; ++i) {
    progress.Advance(1);
    clock.Advance(seconds(1));
  }
  std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(Lines(text), 2u) << text;  // at 5 s and 10 s
  EXPECT_NE(text.find("what=restore done=6 total=100 percent=6"), std::string::npos) << text;
}

TEST(Progress, RedrawsTheBarTenTimesASecondAtMost) {
  ManualClock clock;
  ::testing::internal::CaptureStderr();
  {
    Progress progress("restore", ProgressUnit::kBytes, 1000, Progress::Style::kBar, clock);
    for (int i = 0; i < 1000; ++i) {
      progress.Advance(1);
      clock.Advance(milliseconds(1));
    }
    progress.Finish();
  }
  std::string text = ::testing::internal::GetCapturedStderr();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\r'), 11);
  EXPECT_EQ(Lines(text), 1u);
  EXPECT_NE(text.find("100%"), std::string::npos);
}

}  // namespace
}  // namespace runnel
