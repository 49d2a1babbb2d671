// Checkpoints under a mark: who copies, and how far.
#include "publisher/checkpointer.h"

#include <thread>

#include "tests/unit/publisher/capture_fixture.h"

namespace runnel::publisher {
namespace {

using sqlite::LiveDb;
using std::chrono::milliseconds;
using std::chrono::seconds;

// An application that would checkpoint at each commit, beside a mark that stands where all before it is copied.
class CheckpointerTest : public CaptureFixture {
 protected:
  void SetUp() override {
    CreateDb();
    App("PRAGMA wal_autocheckpoint=1");
    locks_ = Live();
    pins_ = std::make_unique<PinHolder>(*locks_);
    App("INSERT INTO t(v) VALUES(1)");
    old_mark_ = MoveMark();
    App("INSERT INTO t(v) VALUES(2)");
    ASSERT_EQ(locks_->backfill(), old_mark_);
  }

  void StartWorker(milliseconds target_wait) {
    checkpointer_ = std::make_unique<Checkpointer>(
        Live(), [] {}, target_wait);
  }

  std::unique_ptr<LiveDb> Live() {
    Result<std::unique_ptr<LiveDb>> live = LiveDb::Open({.path = db_});
    EXPECT_TRUE(live.ok()) << live.error().message();
    return live.ok() ? std::move(*live) : nullptr;
  }

  uint32_t MoveMark() {
    sqlite::WalIndexHeader header;
    std::optional<Pin> pin = pins_->TakeHigh(PinKind::kMark, false, header);
    EXPECT_TRUE(pin.has_value());
    pins_->Adopt(*pin);
    return pin->mark;
  }

  std::unique_ptr<LiveDb> locks_;
  std::unique_ptr<PinHolder> pins_;
  std::unique_ptr<Checkpointer> checkpointer_;
  uint32_t old_mark_ = 0;
};

TEST_F(CheckpointerTest, TheMarkMovesWhileNobodyElseCanCheckpoint) {
  StartWorker(seconds(60));
  checkpointer_->StartCheckpointAtMark();
  while (!checkpointer_->asks_for_target()) std::this_thread::yield();
  EXPECT_FALSE(locks_->TryExclusive(sqlite::kLockCheckpoint));
  const uint32_t mark = MoveMark();
  App("INSERT INTO t(v) VALUES(3)");  // without the lock in our hand, this one would copy
  EXPECT_EQ(locks_->backfill(), old_mark_);
  checkpointer_->Allow(mark);
  ASSERT_TRUE(checkpointer_->WaitIdle(Clock::now() + seconds(10)));
  std::optional<CheckpointOutcome> outcome = checkpointer_->Take();
  ASSERT_TRUE(outcome.has_value());
  EXPECT_FALSE(outcome->busy || outcome->failed);
  EXPECT_EQ(outcome->target, mark);
  EXPECT_GT(mark, old_mark_);
  EXPECT_EQ(locks_->backfill(), mark);
}

TEST_F(CheckpointerTest, AnUnansweredQuestionLeavesTheOldMark) {
  StartWorker(milliseconds(20));
  checkpointer_->StartCheckpointAtMark();
  ASSERT_TRUE(checkpointer_->WaitIdle(Clock::now() + seconds(10)));
  std::optional<CheckpointOutcome> outcome = checkpointer_->Take();
  ASSERT_TRUE(outcome.has_value());
  EXPECT_EQ(outcome->target, 0u);
  EXPECT_EQ(locks_->backfill(), old_mark_);
  checkpointer_->Allow(1000);  // too late: forgotten
  EXPECT_TRUE(locks_->TryExclusive(sqlite::kLockCheckpoint));
}

TEST_F(CheckpointerTest, SomebodyElsesCheckpointIsNoQuestion) {
  StartWorker(seconds(60));
  ASSERT_TRUE(locks_->TryExclusive(sqlite::kLockCheckpoint));
  checkpointer_->StartCheckpointAtMark();
  ASSERT_TRUE(checkpointer_->WaitIdle(Clock::now() + seconds(10)));
  std::optional<CheckpointOutcome> outcome = checkpointer_->Take();
  ASSERT_TRUE(outcome.has_value());
  EXPECT_TRUE(outcome->busy);
}

}  // namespace
}  // namespace runnel::publisher
