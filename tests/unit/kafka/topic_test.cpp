#include "bus/kafka/topic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace runnel::bus::kafka {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

TopicFacts Good() {
  TopicFacts facts;
  facts.partition_count = 1;
  facts.replica_count = 3;
  facts.settings = {{"cleanup.policy", "delete"},
                    {"retention.bytes", "-1"},
                    {"retention.ms", "604800000"},
                    {"min.insync.replicas", "2"},
                    {"unclean.leader.election.enable", "false"},
                    {"flush.messages", "4611686018427387905"}};
  return facts;
}

TopicFacts With(const std::string& key, const std::string& value) {
  TopicFacts facts = Good();
  facts.settings[key] = value;
  return facts;
}

TEST(JudgeTopic, FindsNothingWrongWithATopicOfOurs) { EXPECT_THAT(JudgeTopic(Good(), 3), IsEmpty()); }

TEST(JudgeTopic, NamesEachDangerWithItsRemedy) {
  EXPECT_THAT(JudgeTopic(With("cleanup.policy", "compact"), 3), ElementsAre(HasSubstr("set it to delete")));
  EXPECT_THAT(JudgeTopic(With("cleanup.policy", "compact,delete"), 3), ElementsAre(HasSubstr("set it to delete")));
  EXPECT_THAT(JudgeTopic(With("retention.bytes", "1000000"), 3), ElementsAre(HasSubstr("set it to -1")));
  EXPECT_THAT(JudgeTopic(With("retention.ms", "1000"), 3), ElementsAre(HasSubstr("set it to 604800000")));
  EXPECT_THAT(JudgeTopic(With("retention.ms", "-1"), 3), IsEmpty());
  EXPECT_THAT(JudgeTopic(With("max.message.bytes", "65536"), 3), ElementsAre(HasSubstr("set it to 8388608")));
  EXPECT_THAT(JudgeTopic(With("max.message.bytes", "1048588"), 3), IsEmpty());
  EXPECT_THAT(JudgeTopic(With("min.insync.replicas", "1"), 3), ElementsAre(HasSubstr("set it to 2")));
  EXPECT_THAT(JudgeTopic(With("min.insync.replicas", "4"), 3), ElementsAre(HasSubstr("lower it")));
  EXPECT_THAT(JudgeTopic(With("unclean.leader.election.enable", "true"), 3), ElementsAre(HasSubstr("set it to false")));
  EXPECT_THAT(JudgeTopic(Good(), 5), ElementsAre(HasSubstr("add replicas")));
  TopicFacts partitions = Good();
  partitions.partition_count = 6;
  EXPECT_THAT(JudgeTopic(partitions, 3), ElementsAre(HasSubstr("6 partitions")));
  TopicFacts secret = Good();
  secret.settings.clear();
  EXPECT_THAT(JudgeTopic(secret, 3), ElementsAre(HasSubstr("DESCRIBE_CONFIGS")));
}

TEST(JudgeTopic, TakesASingleBrokerForWhatItIs) {
  TopicFacts facts = With("min.insync.replicas", "1");
  facts.replica_count = 1;
  EXPECT_THAT(JudgeTopic(facts, 1), IsEmpty());
}

TEST(Incarnation, IsTheNumberOfATopicMadeByUs) {
  EXPECT_EQ(Incarnation(Good()), "4000000000000001");
  EXPECT_EQ(Incarnation(With("flush.messages", "9223372036854775807")), "unmarked");  // Kafka's default
  EXPECT_EQ(Incarnation(With("flush.messages", "1")), "unmarked");
  EXPECT_EQ(Incarnation(With("flush.messages", "nonsense")), "unmarked");
}

}  // namespace
}  // namespace runnel::bus::kafka
