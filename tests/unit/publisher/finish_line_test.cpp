// Letting the WAL of a writer that never pauses go behind its own checkpoint: when it is awaited, and that it happens.
#include "publisher/finish_line.h"

#include <atomic>
#include <thread>

#include "ltx/base/time.h"
#include "tests/unit/publisher/capture_fixture.h"

namespace runnel::publisher {
namespace {

using std::chrono::microseconds;

constexpr bool kSyncing = true;
constexpr std::chrono::seconds kPatience{120};  // on a busy machine the writer pauses, and then nobody hurries

TEST(FinishLine, IsAwaitedOnlyBesideAWriterThatNeverPausesAndSyncs) {
  FinishLine line;
  line.See(!kSyncing, 900, 0);
  EXPECT_FALSE(line.awaited());
  line.See(kSyncing, 900, 0);
  EXPECT_TRUE(line.awaited());
  EXPECT_FALSE(line.near());
  EXPECT_EQ(line.frames_left(), 100u);
  line.See(kSyncing, 1000, 0);
  EXPECT_TRUE(line.near());
}

TEST(FinishLine, LearnsWhereTheApplicationCheckpoints) {
  FinishLine line;
  line.See(kSyncing, 98, 0);
  line.See(kSyncing, 103, 101);
  line.NewRound();
  line.See(kSyncing, 50, 0);
  EXPECT_EQ(line.frames_left(), 51u);
  line.See(kSyncing, 84, 0);
  EXPECT_FALSE(line.near());
  line.See(kSyncing, 85, 0);
  EXPECT_TRUE(line.near());
}

TEST(FinishLine, IsGivenUpAfterManyCheckpointsInVainAndTriedAgainLater) {
  FinishLine line;
  uint32_t frames = 1000;
  for (int i = 0; i < 16; ++i, frames += 2) line.See(kSyncing, frames, frames - 1);
  EXPECT_TRUE(line.awaited());
  line.See(kSyncing, frames, frames - 1);
  EXPECT_FALSE(line.awaited());
  EXPECT_EQ(line.given_up(), 1u);
  line.See(kSyncing, frames + 1999, frames);
  EXPECT_FALSE(line.awaited());
  line.See(kSyncing, frames + 2000, frames);
  EXPECT_TRUE(line.awaited());
  EXPECT_TRUE(line.near());
}

TEST(FinishLine, IsGivenUpWhenNobodyCheckpoints) {
  FinishLine line;
  line.See(kSyncing, 1500, 0);
  EXPECT_TRUE(line.awaited());
  line.See(kSyncing, 1501, 0);
  EXPECT_FALSE(line.awaited());
}

TEST(FinishLine, IsGivenUpWhenAReaderOfTheApplicationKeepsTheWal) {
  FinishLine line;
  line.See(kSyncing, 1001, 700);
  for (uint32_t frames = 1003; frames <= 1500; ++frames) line.See(kSyncing, frames, 700);
  EXPECT_TRUE(line.awaited());
  line.See(kSyncing, 1502, 700);
  EXPECT_FALSE(line.awaited());
}

TEST(FinishLine, BeginsAnewWithEachWal) {
  FinishLine line;
  line.See(kSyncing, 5000, 0);
  EXPECT_FALSE(line.awaited());
  line.NewRound();
  line.See(kSyncing, 1, 0);
  EXPECT_TRUE(line.awaited());
  EXPECT_EQ(line.frames_left(), 999u);
}

class FinishLineOfAWriter : public CaptureFixture {
 protected:
  // Commits about 10,000 times a second until told to stop, as a writer that syncs does; its connection checkpoints.
  void Write(const std::atomic<bool>& stop, int autocheckpoint) {
    sqlite3* db = Connect();
    Try(db, "PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=" + std::to_string(autocheckpoint));
    while (!stop) {
      EXPECT_EQ(Try(db, "INSERT INTO t(v) VALUES(7)"), SQLITE_OK);
      Pause(microseconds(40));
    }
  }
};

TEST_F(FinishLineOfAWriter, LetsTheWalGoAtTheWritersOwnSize) {
  CreateDb();
  StartCapture();
  std::atomic<bool> stop = false;
  std::thread writer([&] { Write(stop, 1000); });
  auto let_go = [&] { return capture_->stats().finished > 0 && capture_->stats().wal_resets > 0; };
  EXPECT_TRUE(TurnUntil(let_go, kPatience));
  stop = true;
  writer.join();
  EXPECT_EQ(capture_->stats().gaps, 0u);
  EXPECT_EQ(capture_->stats().forced, 0u);
}

TEST_F(FinishLineOfAWriter, CheckpointsItselfWhereTheWriterDoesNot) {
  CreateDb();
  StartCapture();
  std::atomic<bool> stop = false;
  std::thread writer([&] { Write(stop, 0); });
  auto checkpointed = [&] { return capture_->stats().finish_given_up > 0 && capture_->stats().checkpoints > 0; };
  EXPECT_TRUE(TurnUntil(checkpointed, kPatience));
  stop = true;
  writer.join();
  EXPECT_EQ(capture_->stats().gaps, 0u);
}

}  // namespace
}  // namespace runnel::publisher
