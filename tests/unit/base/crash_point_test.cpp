#include "ltx/base/crash_point.h"

#include <signal.h>

#include <cstdlib>

#include <gtest/gtest.h>

#include "ltx/base/fs.h"
#include "tests/support/temp_dir.h"

namespace runnel {
namespace {

// The points are read from the environment before main, so each death test runs this binary anew ("threadsafe").
class CrashPointTest : public ::testing::Test {
 protected:
  CrashPointTest() { ::testing::FLAGS_gtest_death_test_style = "threadsafe"; }
  ~CrashPointTest() override {
    ::unsetenv("RUNNEL_CRASH_POINT");
    ::unsetenv("RUNNEL_CRASH_LOG");
  }
};

TEST_F(CrashPointTest, DoesNothingWithoutThePlan) { CrashPoint("anywhere"); }

TEST_F(CrashPointTest, KillsTheProcessAtTheNamedPlaceAndLeavesTheNameBehind) {
  // The death test's child runs the test's body again, so the directory must be one both agree on.
  const char* known = std::getenv("RUNNEL_CRASH_LOG");
  testing::TempDir dir;
  std::string log = known != nullptr ? known : (dir / "log").string();
  ::setenv("RUNNEL_CRASH_LOG", log.c_str(), 1);
  ::setenv("RUNNEL_CRASH_POINT", "here", 1);
  EXPECT_EXIT(
      {
        CrashPoint("elsewhere");
        CrashPoint("here");
        std::_Exit(0);
      },
      ::testing::KilledBySignal(SIGKILL), "");
  EXPECT_EQ(*ReadFile(log, 100), "here\n");
}

TEST_F(CrashPointTest, CountsPassagesOfTheNamedPlaceOnly) {
  ::setenv("RUNNEL_CRASH_POINT", "here:3", 1);
  EXPECT_EXIT(
      {
        for (int i = 0; i < 9; ++i) CrashPoint("elsewhere");
        CrashPoint("here");
        CrashPoint("here");
        std::_Exit(7);
      },
      ::testing::ExitedWithCode(7), "");
  EXPECT_EXIT(
      {
        for (int i = 0; i < 3; ++i) CrashPoint("here");
        std::_Exit(0);
      },
      ::testing::KilledBySignal(SIGKILL), "");
}

TEST_F(CrashPointTest, APlanThatCannotBeReadDoesNotLetATestPass) {
  ::setenv("RUNNEL_CRASH_POINT", "here:soon", 1);
  EXPECT_EXIT(std::_Exit(0), ::testing::KilledBySignal(SIGABRT), "name or name:n");
}

}  // namespace
}  // namespace runnel
