#include "ltx/base/signals.h"

#include <unistd.h>

#include <cstdlib>

#include <gtest/gtest.h>

#include "ltx/base/sync.h"
#include "ltx/base/time.h"

namespace runnel {
namespace {

using std::chrono::seconds;

// Signals change the whole process, so each test runs in a child of its own (a death test's).
class SignalsTest : public ::testing::Test {
 protected:
  SignalsTest() { ::testing::FLAGS_gtest_death_test_style = "threadsafe"; }

  // Waits for the stop and leaves with the exit code of a clean stop; 99 if none came.
  [[noreturn]] static void ExitAfterStop(const Signals& signals) {
    Status slept = SleepUntil(DeadlineIn(seconds(10)), signals.stop_token());
    std::_Exit(slept.ok() ? 99 : signals.exit_code());
  }
  static std::unique_ptr<Signals> InstallOrDie(std::function<void()> on_hangup = nullptr) {
    Result<std::unique_ptr<Signals>> signals = Signals::Install(std::move(on_hangup));
    if (!signals.ok()) std::_Exit(98);
    return std::move(*signals);
  }
};

TEST_F(SignalsTest, SigtermAndSigintAskForAStopAndNameTheExitCode) {
  EXPECT_EXIT(
      {
        std::unique_ptr<Signals> signals = InstallOrDie();
        ::kill(::getpid(), SIGTERM);
        ExitAfterStop(*signals);
      },
      ::testing::ExitedWithCode(143), "");
  EXPECT_EXIT(
      {
        std::unique_ptr<Signals> signals = InstallOrDie();
        ::kill(::getpid(), SIGINT);
        ExitAfterStop(*signals);
      },
      ::testing::ExitedWithCode(130), "");
}

TEST_F(SignalsTest, AStopOfOurOwnIsNotASignal) {
  EXPECT_EXIT(
      {
        std::unique_ptr<Signals> signals = InstallOrDie();
        signals->RequestStop();
        ExitAfterStop(*signals);
      },
      ::testing::ExitedWithCode(0), "");
}

TEST_F(SignalsTest, ASecondSignalEndsTheProcessAtOnce) {
  EXPECT_EXIT(
      {
        std::unique_ptr<Signals> signals = InstallOrDie();
        ::kill(::getpid(), SIGTERM);
        (void)SleepUntil(DeadlineIn(seconds(10)), signals->stop_token());
        ::kill(::getpid(), SIGINT);
        (void)SleepUntil(DeadlineIn(seconds(10)), std::stop_token());
        std::_Exit(99);
      },
      ::testing::ExitedWithCode(130), "");
}

TEST_F(SignalsTest, SighupReloadsAndDoesNotStop) {
  EXPECT_EXIT(
      {
        Latest<int> reloads(0);
        std::unique_ptr<Signals> signals = InstallOrDie([&reloads] { reloads.Set(reloads.Get() + 1); });
        ::kill(::getpid(), SIGHUP);
        bool reloaded = reloads.WaitFor([](int n) { return n == 1; }, std::stop_token(), DeadlineIn(seconds(10))).ok();
        std::_Exit(reloaded && !signals->stop_token().stop_requested() ? 7 : 99);
      },
      ::testing::ExitedWithCode(7), "");
}

TEST_F(SignalsTest, AfterItsEndSignalsWorkAsBefore) {
  EXPECT_EXIT(
      {
        InstallOrDie().reset();
        ::kill(::getpid(), SIGTERM);
        std::_Exit(99);
      },
      ::testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace runnel
