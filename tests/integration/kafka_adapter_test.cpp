// What the conformance suite cannot know of Kafka: how soon a first message is there, what sharing clients means, and
// topics that are no logs.
#include <gmock/gmock.h>

#include "tests/integration/kafka_fixture.h"

namespace runnel::bus {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class KafkaAdapter : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    const std::string version = GetParam();
    if (!runnel::testing::RequirePeer(runnel::testing::Kafka(version),
                                      "Kafka " + version + " (tools/peers/get.sh kafka)"))
      return;
    broker_ = shared->Get(version);
    ASSERT_NE(broker_, nullptr);
  }
  bool running() const { return broker_ != nullptr; }

  KafkaBroker* broker_ = nullptr;
};

TEST_P(KafkaAdapter, FirstMessageIsThereWithin50MsOfConnecting) {
  if (!running()) return;
  for (const std::string fencing : {"marker", "transactional"}) {
    std::vector<double> first_ms;
    std::vector<double> all_ms;
    for (int i = 0; i < 9; ++i) {
      const std::string url = broker_->Url(shared->FreshName()) + "?fencing=" + fencing;
      ASSERT_TRUE(Open(url)->Create().ok());
      const SteadyTime start = steady_clock::now();
      const std::unique_ptr<Log> log = Open(url);
      const std::unique_ptr<LogWriter> writer = Lead(*log, "marker");
      ASSERT_NE(writer, nullptr);
      const SteadyTime connected = steady_clock::now();
      AppendAcked(*writer, "a", 0, 1);
      const SteadyTime acked = steady_clock::now();
      first_ms.push_back(std::chrono::duration<double, std::milli>(acked - connected).count());
      all_ms.push_back(std::chrono::duration<double, std::milli>(acked - start).count());
    }
    std::sort(first_ms.begin(), first_ms.end());
    std::sort(all_ms.begin(), all_ms.end());
    const size_t median = first_ms.size() / 2;
    std::printf(
        "[ numbers  ] %s: first message after connecting %.1f ms, with connecting and taking over %.1f ms (medians)\n",
        fencing.c_str(), first_ms[median], all_ms[median]);
    // A transaction alone may take as long on a busy machine.
    if (fencing == "marker") {
      EXPECT_LT(first_ms[median], 50);
    }
  }
}

TEST_P(KafkaAdapter, TransactionalWritersTakeTurnsAndOneAtRestFencesNoSuccessor) {
  if (!running()) return;
  // More than there are producers in a process, so that the first ones rest when the last ones lead.
  constexpr size_t kLogs = 20;
  OpenOptions options;
  options.shared = std::make_shared<Shared>();
  std::vector<std::string> urls;
  std::vector<std::unique_ptr<Log>> logs;
  std::vector<std::unique_ptr<LogWriter>> writers;
  for (size_t i = 0; i < kLogs; ++i) {
    urls.push_back(broker_->Url(shared->FreshName()) + "?fencing=transactional");
    logs.push_back(Open(urls.back(), options));
    ASSERT_TRUE(logs.back()->Create().ok());
    writers.push_back(Lead(*logs.back(), "marker"));
    ASSERT_NE(writers.back(), nullptr);
  }
  for (int round = 0; round < 3; ++round) {
    for (const auto& writer : writers) ASSERT_TRUE(writer->Append("a/" + std::to_string(round), {}).ok());
  }
  for (const auto& writer : writers) {
    const Status acked = writer->WaitAcked(3, Soon(), {});
    ASSERT_TRUE(acked.ok()) << acked.error().message();
  }
  for (size_t i = 1; i < kLogs; ++i) AppendAcked(*writers[i], "a", 3, 1);  // so that the first is at rest
  const std::unique_ptr<Log> elsewhere = Open(urls[0]);
  const std::unique_ptr<LogWriter> successor = Lead(*elsewhere, "new");
  ASSERT_NE(successor, nullptr);
  AppendAcked(*successor, "b", 0, 1);
  ASSERT_TRUE(writers[0]->Append("a/3", {}).ok()) << "it does not know yet";
  EXPECT_EQ(writers[0]->WaitAcked(4, Soon(), {}).code(), Errc::kConflict);
  AppendAcked(*successor, "b", 1, 1);
  EXPECT_TRUE(successor->error().ok()) << successor->error().error().message();
  EXPECT_THAT(Everything(*elsewhere), ::testing::ElementsAre("marker", "a/0", "a/1", "a/2", "new", "b/0", "b/1"));
  for (size_t i = 1; i < kLogs; ++i) EXPECT_EQ(CountNumbers(Everything(*logs[i]), 1, "a"), 4u) << "log " << i;
}

TEST_P(KafkaAdapter, LogsThatShareClientsLoseAndGetNothingOfEachOther) {
  if (!running()) return;
  // More than have producers of their own, so that some share one.
  constexpr int kLogs = 12;
  OpenOptions options;
  options.shared = std::make_shared<Shared>();
  struct Part {
    std::unique_ptr<Log> log;
    std::unique_ptr<LogReader> reader;
    std::unique_ptr<LogWriter> writer;
  };
  std::vector<Part> parts(kLogs);
  std::vector<std::string> urls;
  for (Part& part : parts) {
    urls.push_back(broker_->Url(shared->FreshName()));
    options.client_name = "test " + urls.back();  // as nodes do
    part.log = Open(urls.back(), options);
    ASSERT_TRUE(part.log->Create().ok());
    part.writer = Lead(*part.log, "marker");
    ASSERT_NE(part.writer, nullptr);
    Result<std::unique_ptr<LogReader>> reader = part.log->Read(FromEarliest{});
    ASSERT_TRUE(reader.ok()) << reader.error().message();
    part.reader = *std::move(reader);
  }
  // One client for questions, one for reading, eight for writing.
  EXPECT_LE(options.shared->Statistics().size(), 2 + 10u * (1 + 8));
  constexpr int kMessages = 300;
  for (int i = 0; i < kMessages; ++i) {
    for (Part& part : parts) ASSERT_TRUE(part.writer->Append("a/" + std::to_string(i), {}).ok());
  }
  for (Part& part : parts) ASSERT_TRUE(part.writer->WaitAcked(kMessages, Soon(), {}).ok());
  // One of them is taken over from elsewhere, and one is disturbed by a stranger: the others do not notice, the second
  // goes on behind it.
  const size_t lost = kLogs - 1;
  const size_t disturbed = kLogs - 2;
  const std::unique_ptr<Log> elsewhere = Open(urls[lost]);
  const std::unique_ptr<LogWriter> successor = Lead(*elsewhere, "new");
  ASSERT_NE(successor, nullptr);
  ASSERT_TRUE(broker_->Produce("runnel." + urls[disturbed].substr(urls[disturbed].rfind('/') + 1), "litter").ok());
  for (int i = kMessages; i < 2 * kMessages; ++i) {
    for (size_t part = 0; part < parts.size(); ++part) {
      const Status appended = parts[part].writer->Append("a/" + std::to_string(i), {});
      EXPECT_TRUE(appended.ok() || part == lost) << appended.error().message();
    }
  }
  for (size_t part = 0; part < parts.size(); ++part) {
    const Status acked = parts[part].writer->WaitAcked(2 * kMessages, Soon(), {});
    if (part == lost) {
      EXPECT_EQ(acked.code(), Errc::kConflict) << "the successor leads";
      continue;
    }
    EXPECT_TRUE(acked.ok()) << acked.error().message();
    const std::vector<std::string> all = ReadToTail(*parts[part].log, *parts[part].reader);
    EXPECT_EQ(CountNumbers(all, 1, "a"), static_cast<size_t>(2 * kMessages)) << "log " << part;
    EXPECT_EQ(all.size(), static_cast<size_t>(2 * kMessages + 1)) << "log " << part;
  }
  const std::vector<std::string> all = ReadToTail(*parts[lost].log, *parts[lost].reader);
  EXPECT_EQ(CountNumbers(all, 1, "a"), static_cast<size_t>(kMessages));
  EXPECT_EQ(all.back(), "new");
}

TEST_P(KafkaAdapter, TwoReadersOfOneTopicInOneProcessSeeTheSame) {
  if (!running()) return;
  OpenOptions options;
  options.shared = std::make_shared<Shared>();
  const std::string url = broker_->Url(shared->FreshName());
  const std::unique_ptr<Log> log = Open(url, options);
  const std::unique_ptr<Log> again = Open(url, options);
  ASSERT_TRUE(log->Create().ok());
  const std::unique_ptr<LogWriter> writer = Lead(*log, "marker");
  ASSERT_NE(writer, nullptr);
  Result<std::unique_ptr<LogReader>> first = log->Read(FromEarliest{});
  Result<std::unique_ptr<LogReader>> second = again->Read(FromEarliest{});
  ASSERT_TRUE(first.ok() && second.ok());
  AppendAcked(*writer, "a", 0, 50);
  const std::vector<std::string> seen = ReadToTail(*log, **first);
  EXPECT_EQ(seen.size(), 51u);
  EXPECT_EQ(ReadToTail(*again, **second), seen);
}

TEST_P(KafkaAdapter, TopicThatCannotBeALogIsRefusedWithWhatToChange) {
  if (!running()) return;
  const auto create = [&](int partitions, const std::map<std::string, std::string>& settings, bool force) {
    const std::string name = shared->FreshName();
    const Status made = broker_->CreateTopic("runnel." + name, partitions, settings);
    EXPECT_TRUE(made.ok()) << made.error().message();
    OpenOptions options;
    options.force = force;
    return Open(broker_->Url(name), options)->Create();
  };
  const Status compacted = create(1, {{"cleanup.policy", "compact"}}, false);
  ASSERT_EQ(compacted.code(), Errc::kRefused);
  EXPECT_THAT(compacted.error().message(), AllOf(HasSubstr("cleanup.policy=compact"), HasSubstr("set it to delete")));
  const Status many = create(2, {}, true);
  ASSERT_EQ(many.code(), Errc::kRefused) << "also when forced";
  EXPECT_THAT(many.error().message(), AllOf(HasSubstr("2 partitions"), HasSubstr("make it again with one")));
  EXPECT_TRUE(create(1, {{"retention.bytes", "1000000"}}, true).ok()) << "forced";
  EXPECT_TRUE(create(1, {}, false).ok());
}

TEST_P(KafkaAdapter, TopicWithoutRetentionKeepsWhateverItsAge) {
  if (!running()) return;
  OpenOptions options;
  options.retention = std::chrono::hours(0);
  const std::unique_ptr<Log> log = Open(broker_->Url(shared->FreshName()), options);
  ASSERT_TRUE(log->Create().ok());
  const Result<LogInfo> info = log->Info();
  ASSERT_TRUE(info.ok()) << info.error().message();
  EXPECT_THAT(info->dangers, IsEmpty());
  const Status again = log->Create();
  EXPECT_TRUE(again.ok()) << "its own log is no danger to it: " << again.error().message();
}

INSTANTIATE_TEST_SUITE_P(Real, KafkaAdapter, ::testing::Values("3.9.2", "4.3.1"),
                         [](const ::testing::TestParamInfo<const char*>& tested) {
                           std::string name = std::string("Kafka") + tested.param;
                           std::erase(name, '.');
                           return name;
                         });

}  // namespace
}  // namespace runnel::bus
