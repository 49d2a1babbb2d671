#include "publisher/start_plan.h"

#include <gtest/gtest.h>

namespace runnel::publisher {
namespace {

constexpr Checksum kOne(0x8000000000000001);
constexpr Checksum kTwo(0x8000000000000002);

bus::Lineage LineageOf(uint8_t id) {
  bus::Lineage lineage;
  lineage.bytes[0] = id;
  return lineage;
}

StartFacts Facts() {
  StartFacts facts;
  facts.page_size = PageSize(4096);
  facts.head.empty = false;
  facts.head.lineage = LineageOf(1);
  facts.head.epoch = bus::Epoch(3);
  facts.head.page_size = PageSize(4096);
  facts.head.position = {Txid(10), kOne};
  facts.table = TableFacts{LineageOf(1), bus::Epoch(3), {Txid(10), kOne}};
  return facts;
}

TEST(StartPlan, ContinuesWhenLogAndTableAgree) { EXPECT_EQ(PlanStart(Facts()).action, StartAction::kContinue); }

TEST(StartPlan, BeginsALineageOnAnEmptyLog) {
  StartFacts facts = Facts();
  facts.head = LogHead();
  facts.table.reset();
  EXPECT_EQ(PlanStart(facts).action, StartAction::kNewLineage);
}

TEST(StartPlan, KeepsTheLineageWhenTheLogWasDeleted) {
  StartFacts facts = Facts();
  facts.head = LogHead();
  EXPECT_EQ(PlanStart(facts).action, StartAction::kSnapshotAgain);
}

TEST(StartPlan, ReadsTheLogIntoATableThatIsBehind) {
  StartFacts facts = Facts();
  facts.table->position = {Txid(7), kTwo};
  EXPECT_EQ(PlanStart(facts).action, StartAction::kRollForward);
}

TEST(StartPlan, ComparesImagesWhenTheLogLostItsEnd) {
  StartFacts facts = Facts();
  facts.table->position = {Txid(12), kTwo};
  StartPlan plan = PlanStart(facts);
  EXPECT_EQ(plan.action, StartAction::kCompareFrom);
  EXPECT_NE(plan.reason.find("lost"), std::string::npos);
}

TEST(StartPlan, AdoptsOnlyByChecksumWithoutATable) {
  StartFacts facts = Facts();
  facts.table.reset();
  EXPECT_EQ(PlanStart(facts).action, StartAction::kAdopt);
}

TEST(StartPlan, AdoptsOnlyByChecksumWhenAnotherPublisherHasLedSince) {
  StartFacts facts = Facts();
  facts.head.epoch = bus::Epoch(4);
  EXPECT_EQ(PlanStart(facts).action, StartAction::kContinue);
  facts.table->position = {Txid(9), kTwo};
  EXPECT_EQ(PlanStart(facts).action, StartAction::kAdopt);
  facts.table->position = {Txid(11), kTwo};
  EXPECT_EQ(PlanStart(facts).action, StartAction::kAdopt);
}

TEST(StartPlan, RefusesAnotherLineageWithBothPositions) {
  StartFacts facts = Facts();
  facts.table->lineage = LineageOf(2);
  StartPlan plan = PlanStart(facts);
  EXPECT_EQ(plan.action, StartAction::kRefuse);
  EXPECT_NE(plan.reason.find(ToString(facts.head.position)), std::string::npos);
  EXPECT_NE(plan.reason.find("--new-lineage"), std::string::npos);
}

TEST(StartPlan, RefusesTheSameNumberWithAnotherImage) {
  StartFacts facts = Facts();
  facts.table->position.checksum = kTwo;
  EXPECT_EQ(PlanStart(facts).action, StartAction::kRefuse);
}

TEST(StartPlan, RefusesAnotherPageSizeUnlessANewLineageIsAskedFor) {
  StartFacts facts = Facts();
  facts.page_size = PageSize(1024);
  EXPECT_EQ(PlanStart(facts).action, StartAction::kRefuse);
  facts.new_lineage = true;
  EXPECT_EQ(PlanStart(facts).action, StartAction::kNewLineage);
}

TEST(StartPlan, NeverReusesTxidsThatMayHaveBeenSeen) { EXPECT_GT(SkipLostTxids(Txid(10)).raw(), 10u + 1024 * 1000); }

}  // namespace
}  // namespace runnel::publisher
