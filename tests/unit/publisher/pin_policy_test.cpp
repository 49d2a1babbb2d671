#include "publisher/pin_policy.h"

#include <gtest/gtest.h>

namespace runnel::publisher {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

struct PinCase {
  const char* name;
  PinFacts facts;
  PinAction action;
};

class PinTable : public ::testing::TestWithParam<PinCase> {};

TEST_P(PinTable, Decides) { EXPECT_EQ(DecidePin(GetParam().facts), GetParam().action); }

constexpr PinKind kZero = PinKind::kZero;
constexpr PinKind kMark = PinKind::kMark;
constexpr PinKind kNomark = PinKind::kNomark;

INSTANTIATE_TEST_SUITE_P(
    Cases, PinTable,
    ::testing::Values(
        PinCase{"StaysOnZeroWhileAllIsCopied", {kZero, 10, 10, true, false, false}, PinAction::kKeep},
        PinCase{"StaysOnZeroOfAnEmptyWal", {kZero, 0, 0, true, false, false}, PinAction::kKeep},
        PinCase{"LeavesZeroAtTheFirstCommit", {kZero, 3, 0, false, false, false}, PinAction::kLeaveZeroToNomark},
        PinCase{"LeavesZeroToAMarkWhenHot", {kZero, 3, 0, false, true, false}, PinAction::kLeaveZeroToMark},
        PinCase{"TakesZeroWhenAllIsCopiedAndReleased", {kNomark, 10, 10, true, true, false}, PinAction::kToZero},
        PinCase{"NeverTakesZeroWhileSomethingIsUnreleased", {kNomark, 10, 10, false, false, false}, PinAction::kKeep},
        PinCase{
            "NeverTakesZeroFromAMarkWhileSomethingIsUnreleased", {kMark, 10, 10, false, true, false}, PinAction::kKeep},
        PinCase{"NeverMovesUnderItsOwnCheckpoint", {kNomark, 10, 10, true, false, true}, PinAction::kKeep},
        PinCase{"TakesAMarkWhenHot", {kNomark, 10, 0, true, true, false}, PinAction::kToMark},
        PinCase{"LetsAHotWriterCheckpointItself", {kMark, 900, 0, false, true, false, true}, PinAction::kToNomark},
        PinCase{"LeavesZeroWithoutAMarkWhenAHotWriterCheckpoints",
                {kZero, 3, 0, false, true, false, true},
                PinAction::kLeaveZeroToNomark},
        PinCase{"DropsTheMarkWhenQuiet", {kMark, 10, 0, true, false, false}, PinAction::kToNomark},
        PinCase{"KeepsAutocheckpointsCheapOverASlowBus", {kNomark, 900, 0, false, false, false}, PinAction::kToMark},
        PinCase{"LetsAnApplicationFinishOnceAllIsReleased", {kMark, 900, 0, true, false, false}, PinAction::kToNomark},
        PinCase{"KeepsWhatFits", {kNomark, 10, 0, false, false, false}, PinAction::kKeep}),
    [](const ::testing::TestParamInfo<PinCase>& test) { return std::string(test.param.name); });

class CheckpointPolicyTest : public ::testing::Test {
 protected:
  CheckpointFacts Facts(uint32_t mx_frame, uint32_t backfill) {
    return {.now = now_, .mx_frame = mx_frame, .backfill = backfill, .released_all = true};
  }
  Clock::time_point now_ = Clock::now();
  CheckpointPolicy policy_{800};
};

TEST_F(CheckpointPolicyTest, StartsAtItsSizeOrWhenIdle) {
  EXPECT_EQ(policy_.Decide(Facts(799, 0)), CheckpointAction::kNone);
  EXPECT_EQ(policy_.Decide(Facts(800, 0)), CheckpointAction::kStart);
  EXPECT_EQ(policy_.Decide(Facts(800, 800)), CheckpointAction::kNone);
  CheckpointFacts idle = Facts(1, 0);
  idle.idle = true;
  EXPECT_EQ(policy_.Decide(idle), CheckpointAction::kStart);
}

TEST_F(CheckpointPolicyTest, TriesAgainSoonWhenAnotherCheckpointerIsBusy) {
  policy_.Started(now_);
  EXPECT_EQ(policy_.Finished({.busy = true, .target = 900}, Facts(900, 0)), CheckpointAction::kNone);
  now_ += microseconds(299);
  EXPECT_EQ(policy_.Decide(Facts(900, 0)), CheckpointAction::kNone);
  now_ += microseconds(1);
  EXPECT_EQ(policy_.Decide(Facts(900, 0)), CheckpointAction::kStart);
}

TEST_F(CheckpointPolicyTest, BacksOffBehindAReaderAndNeverForcesIt) {
  CheckpointFacts facts = Facts(20000, 100);
  facts.over_limit = true;
  for (int i = 0; i < 20; ++i) {
    EXPECT_EQ(policy_.Finished({.target = 20000}, facts), CheckpointAction::kNone);
  }
  now_ += milliseconds(99);
  EXPECT_EQ(policy_.Decide(Facts(20000, 100)), CheckpointAction::kNone);
  now_ += milliseconds(1);
  EXPECT_EQ(policy_.Decide(Facts(20000, 100)), CheckpointAction::kStart);
}

TEST_F(CheckpointPolicyTest, ForcesOnlyOverTheLimitAndWhenRoundsDoNotEnd) {
  EXPECT_EQ(policy_.Finished({.target = 900}, Facts(1900, 900)), CheckpointAction::kNone);
  EXPECT_EQ(policy_.Finished({.target = 1900}, Facts(2900, 1900)), CheckpointAction::kNone);
  EXPECT_EQ(policy_.Finished({.target = 2900}, Facts(3900, 2900)), CheckpointAction::kNone);
  CheckpointFacts over = Facts(20000, 19000);
  over.over_limit = true;
  EXPECT_EQ(policy_.Finished({.target = 19000}, over), CheckpointAction::kNone) << "one round is no saturation";
  over.mx_frame = 21000;
  over.backfill = 20000;
  EXPECT_EQ(policy_.Finished({.target = 20000}, over), CheckpointAction::kForce);
}

TEST_F(CheckpointPolicyTest, GivesTheBusItsRoundsBeforeForcing) {
  CheckpointFacts facts = Facts(20000, 20000);
  facts.over_limit = true;
  facts.released_all = false;
  for (int round = 1; round < 5; ++round) {
    EXPECT_EQ(policy_.Finished({.target = 20000}, facts), CheckpointAction::kNone) << round;
  }
  EXPECT_EQ(policy_.Finished({.target = 20000}, facts), CheckpointAction::kForce);
}

TEST_F(CheckpointPolicyTest, WaitsLongerEachTimeItFailsToForce) {
  policy_.Forced(now_, false);
  now_ += milliseconds(39);
  EXPECT_EQ(policy_.Decide(Facts(900, 0)), CheckpointAction::kNone);
  now_ += milliseconds(1);
  EXPECT_EQ(policy_.Decide(Facts(900, 0)), CheckpointAction::kStart);
  policy_.Forced(now_, false);
  now_ += milliseconds(79);
  EXPECT_EQ(policy_.Decide(Facts(900, 0)), CheckpointAction::kNone);
}

TEST_F(CheckpointPolicyTest, WaitsASecondAfterAnError) {
  policy_.Finished({.failed = true, .target = 900}, Facts(900, 0));
  now_ += milliseconds(999);
  EXPECT_EQ(policy_.Decide(Facts(900, 0)), CheckpointAction::kNone);
  now_ += milliseconds(1);
  EXPECT_EQ(policy_.Decide(Facts(900, 0)), CheckpointAction::kStart);
}

TEST(JournalPolicy, HelpsWhenTheBusAndNotAReaderKeepsALongWal) {
  struct Case {
    const char* what;
    JournalFacts facts;
    bool helps;
  };
  const Case cases[] = {
      {"a short WAL",
       {.wal_frames = 1599, .backfill_frames = 1599, .checkpoint_frames = 800, .limit_frames = 16000},
       false},
      {"twice a checkpoint",
       {.wal_frames = 1600, .backfill_frames = 1590, .checkpoint_frames = 800, .limit_frames = 16000},
       true},
      {"none copied yet, as a round began",
       {.wal_frames = 1600, .backfill_frames = 700, .checkpoint_frames = 800, .limit_frames = 16000},
       true},
      {"a reader keeps it",
       {.wal_frames = 9000, .backfill_frames = 1000, .checkpoint_frames = 800, .limit_frames = 16000},
       false},
      {"hot",
       {.wal_frames = 7999, .backfill_frames = 7999, .checkpoint_frames = 800, .limit_frames = 16000, .hot = true},
       false},
      {"hot for long",
       {.wal_frames = 8000, .backfill_frames = 7000, .checkpoint_frames = 800, .limit_frames = 16000, .hot = true},
       true},
      {"a small limit", {.wal_frames = 60, .backfill_frames = 50, .checkpoint_frames = 800, .limit_frames = 100}, true},
      {"the application checkpoints", {.wal_frames = 2000, .backfill_frames = 2000, .limit_frames = 16000}, true},
      {"an empty WAL and no limit", {}, false},
  };
  for (const Case& one : cases) EXPECT_EQ(JournalHelps(one.facts), one.helps) << one.what;
}

}  // namespace
}  // namespace runnel::publisher
