// The conformance suite against real brokers: Kafka 3.9 and 4.3, with both kinds of fencing.
//
// A broker takes seconds to start, so one serves all cases of a version; each case has a log of its own.
#include "bus/kafka/kafka_log.h"
#include "bus/open.h"
#include "bus/url.h"
#include "tests/conformance/bus_conformance.h"
#include "tests/support/kafka_broker.h"
#include "tests/support/peers.h"
#include "tests/support/shared_kafka.h"

namespace runnel::bus {
namespace {

using runnel::testing::KafkaBroker;
using runnel::testing::SharedKafka;

class KafkaUnderTest : public BusUnderTest {
 public:
  KafkaUnderTest(KafkaBroker& broker, std::string name, std::string query)
      : broker_(broker), name_(std::move(name)), query_(std::move(query)) {}
  ~KafkaUnderTest() override {
    for (const std::string& topic : {"runnel." + name_, "runnel-notes." + name_}) (void)broker_.DeleteTopic(topic).ok();
  }

  Result<std::unique_ptr<Log>> Open() override {
    TRY_ASSIGN(const Url url, ParseUrl(broker_.Url(name_) + query_));
    return OpenKafkaLog(url, OpenOptions{});
  }

  Status DeleteLog() override { return broker_.DeleteTopic("runnel." + name_); }

  void Pause() override { broker_.Pause(); }
  void Resume() override { broker_.Resume(); }

  void Restart() override {
    broker_.Kill9();
    const Status restarted = broker_.Restart();
    ASSERT_TRUE(restarted.ok()) << restarted.error().message();
  }

 private:
  KafkaBroker& broker_;
  const std::string name_;
  const std::string query_;
};

std::vector<BusAdapter> Adapters(SharedKafka* running, const std::string& version, const std::string& fencing) {
  if (!runnel::testing::Kafka(version).has_value()) return {};
  BusCapabilities capabilities;
  capabilities.can_restart = true;
  // In transactions each commit's control record takes a sequence.
  capabilities.dense_sequences = fencing == "marker";
  return {BusAdapter{"kafka",
                     [=]() -> std::unique_ptr<BusUnderTest> {
                       KafkaBroker* broker = running->Get(version);
                       if (broker == nullptr) return nullptr;
                       return std::make_unique<KafkaUnderTest>(*broker, running->FreshName(), "?fencing=" + fencing);
                     },
                     capabilities}};
}

SharedKafka* const running = SharedKafka::Add();

INSTANTIATE_TEST_SUITE_P(Kafka3_9, BusConformance, ::testing::ValuesIn(Adapters(running, "3.9.2", "marker")),
                         BusAdapterName);
INSTANTIATE_TEST_SUITE_P(Kafka3_9Transactional, BusConformance,
                         ::testing::ValuesIn(Adapters(running, "3.9.2", "transactional")), BusAdapterName);
INSTANTIATE_TEST_SUITE_P(Kafka4_3, BusConformance, ::testing::ValuesIn(Adapters(running, "4.3.1", "marker")),
                         BusAdapterName);
INSTANTIATE_TEST_SUITE_P(Kafka4_3Transactional, BusConformance,
                         ::testing::ValuesIn(Adapters(running, "4.3.1", "transactional")), BusAdapterName);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(BusConformance);

TEST(KafkaConformance, HasBothBrokers) {
  if (!runnel::testing::RequirePeer(runnel::testing::Kafka("3.9.2"), "Kafka 3.9.2 (tools/peers/get.sh kafka)")) return;
  if (!runnel::testing::RequirePeer(runnel::testing::Kafka("4.3.1"), "Kafka 4.3.1 (tools/peers/get.sh kafka)")) return;
}

}  // namespace
}  // namespace runnel::bus
