// Zombies: a writer in another process is frozen, somebody takes over, the writer wakes up. Whatever it had on its way
// and whatever it still sends, no reader is ever given any of it; and a writer that only slept goes on by itself. Both
// broker versions, both kinds of fencing.
#include <signal.h>

#include "tests/integration/kafka_fixture.h"

namespace runnel::bus {
namespace {

using ::testing::AnyOf;
using ::testing::Eq;

constexpr int kFenced = 5;                      // exit code of log_appender
constexpr milliseconds kTransactionTime(2000);  // of a transactional writer here

struct Case {
  const char* version;
  const char* fencing;
};

class KafkaFencing : public ::testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    const std::string version = GetParam().version;
    if (!runnel::testing::RequirePeer(runnel::testing::Kafka(version),
                                      "Kafka " + version + " (tools/peers/get.sh kafka)"))
      return;
    broker_ = shared->Get(version);
    ASSERT_NE(broker_, nullptr);
    name_ = shared->FreshName();
    url_ = broker_->Url(name_) + "?fencing=" + GetParam().fencing +
           "&transaction.timeout.ms=" + std::to_string(kTransactionTime.count());
    log_ = Open(url_);
  }
  bool running() const { return broker_ != nullptr; }
  bool transactional() const { return std::string_view(GetParam().fencing) == "transactional"; }

  // Whether something lies behind the last finished transaction.
  bool TransactionIsOpen() const {
    const Result<KafkaBroker::Ends> ends = broker_->EndsOf("runnel." + name_);
    EXPECT_TRUE(ends.ok()) << ends.error().message();
    return ends.ok() && ends->visible < ends->written;
  }

  // Freezes a writer at full speed; a transactional one in the middle of a transaction.
  void FreezeInFlight(Appender& writer) {
    ASSERT_TRUE(writer.AwaitAcked(300)) << writer.Output();
    const SteadyTime give_up = Soon();
    while (steady_clock::now() < give_up) {
      writer.process().Freeze();
      if (!transactional() || TransactionIsOpen()) return;
      writer.process().Thaw();
      ASSERT_TRUE(writer.AwaitAcked(writer.acked() + 1)) << writer.Output();
    }
    FAIL() << "never frozen inside a transaction";
  }

  KafkaBroker* broker_ = nullptr;
  std::string name_;
  std::string url_;
  std::unique_ptr<Log> log_;
};

TEST_P(KafkaFencing, NothingOfAFrozenWriterIsAcceptedBehindItsSuccessorsMarker) {
  if (!running()) return;
  Appender zombie(url_, "old");
  ASSERT_TRUE(zombie.AwaitAcked(100)) << zombie.Output();
  const Result<std::unique_ptr<LogReader>> follower = log_->Read(FromEarliest{});
  ASSERT_TRUE(follower.ok()) << follower.error().message();
  ASSERT_NO_FATAL_FAILURE(FreezeInFlight(zombie));
  const size_t acked = zombie.acked();
  const std::unique_ptr<LogWriter> successor = Lead(*log_, "new");
  ASSERT_NE(successor, nullptr);
  AppendAcked(*successor, "new", 0, 100);
  zombie.process().Thaw();
  // It sends what it had, and learns that it has lost; its successor writes on meanwhile, undisturbed.
  int sent = 100;
  std::optional<int> ended;
  while (!(ended = zombie.process().Wait(milliseconds(0))).has_value() && sent < 100'000) {
    AppendAcked(*successor, "new", sent, 20);
    ASSERT_FALSE(HasFatalFailure()) << zombie.Output();
    sent += 20;
  }
  EXPECT_EQ(ended, kFenced) << zombie.Output();
  AppendAcked(*successor, "new", sent, 100);
  sent += 100;

  const std::vector<std::string> all = Everything(*log_);
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all[0], "old");
  const size_t old_count = CountNumbers(all, 1, "old");
  EXPECT_GE(old_count, acked);
  ASSERT_GT(all.size(), old_count + 1);
  EXPECT_EQ(all[old_count + 1], "new");
  EXPECT_EQ(CountNumbers(all, old_count + 2, "new"), static_cast<size_t>(sent));
  EXPECT_EQ(all.size(), old_count + 2 + static_cast<size_t>(sent));
  EXPECT_EQ(ReadToTail(*log_, **follower), all) << "a reader that was there all along sees the same";
}

TEST_P(KafkaFencing, WriterThatSleptLongerThanItsTransactionGoesOnByItself) {
  if (!running()) return;
  Appender sleeper(url_, "one");
  ASSERT_NO_FATAL_FAILURE(FreezeInFlight(sleeper));
  const size_t acked = sleeper.acked();
  if (transactional()) {
    // The broker ends it when its time is up: then all that was written is visible or void.
    ASSERT_TRUE(Await([&] { return !TransactionIsOpen(); }));
  } else {
    ASSERT_TRUE(SleepUntil(DeadlineIn(kTransactionTime * 5 / 4), {}).ok());  // the time itself is the event here
  }
  sleeper.process().Thaw();
  ASSERT_TRUE(sleeper.AwaitAcked(acked + 500)) << sleeper.Output();
  EXPECT_EQ(sleeper.Stop(), 0) << sleeper.Output();
  EXPECT_EQ(transactional() ? sleeper.leaderships() >= 2 : sleeper.leaderships() >= 1, true) << sleeper.Output();
  const std::vector<std::string> all = Everything(*log_);
  ASSERT_FALSE(all.empty());
  EXPECT_EQ(all[0], "one");
  EXPECT_EQ(CountNumbers(all, 1, "one"), sleeper.acked());
  EXPECT_EQ(all.size(), 1 + sleeper.acked()) << "each number once";
}

TEST_P(KafkaFencing, WriterKilledInFlightIsFollowedWithoutAHole) {
  if (!running()) return;
  Appender first(url_, "one");
  ASSERT_NO_FATAL_FAILURE(FreezeInFlight(first));
  const size_t acked = first.acked();
  first.process().Kill(SIGKILL);
  ASSERT_TRUE(first.process().Wait(kPatience).has_value());
  Appender second(url_, "one");
  ASSERT_TRUE(second.AwaitAcked(acked + 300)) << second.Output();
  EXPECT_EQ(second.Stop(), 0) << second.Output();
  const std::vector<std::string> all = Everything(*log_);
  EXPECT_GE(CountNumbers(all, 1, "one"), second.acked());
  EXPECT_EQ(all.size(), 1 + CountNumbers(all, 1, "one"));
}

INSTANTIATE_TEST_SUITE_P(Real, KafkaFencing,
                         ::testing::Values(Case{"3.9.2", "marker"}, Case{"3.9.2", "transactional"},
                                           Case{"4.3.1", "marker"}, Case{"4.3.1", "transactional"}),
                         [](const ::testing::TestParamInfo<Case>& tested) {
                           std::string name = std::string("Kafka") + tested.param.version + tested.param.fencing;
                           std::erase(name, '.');
                           return name;
                         });

}  // namespace
}  // namespace runnel::bus
