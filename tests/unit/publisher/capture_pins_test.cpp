// What capture holds, and what it does to others: pins, resets, resumption, images, recovery.
#include <filesystem>
#include <fstream>
#include <thread>

#include "tests/unit/publisher/capture_fixture.h"

namespace runnel::publisher {
namespace {

using sqlite::LiveDb;
using std::chrono::milliseconds;
using std::chrono::seconds;

class CapturePins : public CaptureFixture {
 protected:
  std::unique_ptr<LiveDb> Live() {
    Result<std::unique_ptr<LiveDb>> live = LiveDb::Open({.path = db_});
    EXPECT_TRUE(live.ok()) << live.error().message();
    return live.ok() ? std::move(*live) : nullptr;
  }
  PinKind Kind() { return capture_->stats().pin; }
};

TEST_F(CapturePins, KeepUnreleasedCommitsThroughATruncate) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_EQ(ReadAll().size(), 1u);
  WalPosition unreleased = read_;
  sqlite3* other = Connect();
  // Read but not released: whatever is copied, the WAL must not be reset.
  ASSERT_TRUE(StepUntil([&] { return capture_->stats().backfill_frames == capture_->stats().wal_frames; }));
  EXPECT_NE(Kind(), PinKind::kZero);
  EXPECT_NE(Try(other, "PRAGMA wal_checkpoint(TRUNCATE); BEGIN IMMEDIATE; INSERT INTO t(v) VALUES(2); COMMIT"),
            SQLITE_BUSY);
  std::vector<CommitFrames> more = ReadAll();
  ASSERT_EQ(more.size(), 1u);
  EXPECT_TRUE(more[0].end.SameWal(unreleased)) << "the WAL was reset under an unreleased commit";
  capture_->Rewind(unreleased, page_count_);
  EXPECT_EQ(ReadAll().size(), 1u);
  // Released: now the next writer may begin anew.
  ASSERT_TRUE(TurnUntil([&] { return Kind() == PinKind::kZero; }));
  App("INSERT INTO t(v) VALUES(3)");
  std::vector<CommitFrames> after = ReadAll();
  ASSERT_EQ(after.size(), 1u);
  EXPECT_FALSE(after[0].end.SameWal(unreleased));
}

TEST_F(CapturePins, RewindAcrossTheOneResetOfSlotZero) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_TRUE(TurnUntil([&] { return Kind() == PinKind::kZero; }));
  WalPosition end = read_;
  uint32_t pages = page_count_;
  App("INSERT INTO t(v) VALUES(2)");
  App("INSERT INTO t(v) VALUES(3)");
  ASSERT_EQ(ReadAll().size(), 2u);
  ASSERT_FALSE(read_.SameWal(end)) << "no reset happened: the case is not tested";
  ASSERT_TRUE(StepUntil([&] { return Kind() != PinKind::kZero; }));
  capture_->Rewind(end, pages);
  EXPECT_EQ(ReadAll().size(), 2u);
}

TEST_F(CapturePins, FollowRepeatedTruncatesOfAnEmptyWal) {
  CreateDb();
  StartCapture();
  sqlite3* other = Connect();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_TRUE(TurnUntil([&] { return Kind() == PinKind::kZero; }));
  for (int i = 0; i < 3; ++i)
    EXPECT_EQ(Try(other, "PRAGMA schema_version; PRAGMA wal_checkpoint(TRUNCATE)"), SQLITE_OK);
  App("INSERT INTO t(v) VALUES(2)");
  EXPECT_EQ(ReadAll().size(), 1u);
  EXPECT_EQ(capture_->stats().gaps, 0u);
}

TEST_F(CapturePins, NeverMarkSlotOneAsNotUsed) {
  CreateDb();
  StartCapture();
  std::unique_ptr<LiveDb> live = Live();
  for (int i = 0; i < 50; ++i) {
    App("INSERT INTO t(v) VALUES(randomblob(100))");
    ASSERT_TRUE(StepUntil([] { return true; }));
    EXPECT_NE(live->read_mark(1), sqlite::kReadMarkNotUsed);
  }
}

TEST_F(CapturePins, ShareAMarkWhenReadersHoldAllSlots) {
  CreateDb();
  std::vector<sqlite3*> readers;
  for (int i = 0; i < 4; ++i) {
    App("INSERT INTO t(v) VALUES(1)");
    readers.push_back(Connect());
    ASSERT_EQ(Try(readers.back(), "BEGIN; SELECT count(*) FROM t"), SQLITE_OK);
  }
  App("INSERT INTO t(v) VALUES(1)");
  StartImage();
  EXPECT_GT(image_->capture().stats().pins_shared, 0u);
  App("INSERT INTO t(v) VALUES(2)");
  PublishAll();
  EXPECT_EQ(image_->state().commits, 1u);
  for (sqlite3* reader : readers) EXPECT_EQ(Try(reader, "COMMIT"), SQLITE_OK);
  App("INSERT INTO t(v) VALUES(3)");
  PublishAll();
  EXPECT_EQ(Compare(), "");
}

TEST_F(CapturePins, LeaveSlotZeroOnlyWhenNoStaleCheckpointerCanBeThere) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_TRUE(TurnUntil([&] { return Kind() == PinKind::kZero; }));
  std::unique_ptr<LiveDb> checkpointer = Live();
  ASSERT_TRUE(checkpointer->TryExclusive(sqlite::kLockCheckpoint));  // a PASSIVE that has read its header
  App("INSERT INTO t(v) VALUES(2)");                                 // resets the WAL
  Clock::time_point end = Clock::now() + milliseconds(50);
  EXPECT_FALSE(StepUntil([&] { return Clock::now() > end; }) && Kind() != PinKind::kZero);
  EXPECT_GT(capture_->stats().shield_waits, 10u);
  checkpointer->UnlockExclusive(sqlite::kLockCheckpoint);
  EXPECT_TRUE(TurnUntil([&] { return Kind() != PinKind::kZero || capture_->stats().pins_nomark > 1; }));
}

TEST_F(CapturePins, LeaveSlotZeroWhenItsCheckpointerHoldsTheWriteLockToo) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_TRUE(TurnUntil([&] { return Kind() == PinKind::kZero; }));
  App("INSERT INTO t(v) VALUES(2)");
  std::unique_ptr<LiveDb> checkpointer = Live();
  ASSERT_TRUE(checkpointer->TryExclusive(sqlite::kLockCheckpoint));
  ASSERT_TRUE(checkpointer->TryExclusive(sqlite::kLockWrite));  // a FULL, RESTART or TRUNCATE waits for us
  EXPECT_TRUE(TurnUntil([&] { return Kind() != PinKind::kZero; }));
}

TEST_F(CapturePins, ResumeWhereTheWalStillHoldsThePosition) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_EQ(ReadAll().size(), 1u);
  App("INSERT INTO t(v) VALUES(2)");
  capture_.reset();
  App("INSERT INTO t(v) VALUES(3)");
  OpenCapture();
  WalPosition wrong = read_;
  wrong.checksum[0] ^= 1;
  EXPECT_EQ(capture_->ResumeAt(wrong, page_count_), false);
  wrong = read_;
  wrong.salt[1] ^= 1;
  EXPECT_EQ(capture_->ResumeAt(wrong, page_count_), false);
  wrong = read_;
  wrong.frame += 1000;
  EXPECT_EQ(capture_->ResumeAt(wrong, page_count_), false);
  EXPECT_EQ(capture_->ResumeAt(read_, page_count_ + 1), false);
  EXPECT_EQ(capture_->ResumeAt(read_, page_count_), true);
  EXPECT_EQ(ReadAll().size(), 2u);
}

TEST_F(CapturePins, ResumeWithoutChecksumByPlaceAndCommitMark) {
  CreateDb();
  StartCapture();
  App("BEGIN; INSERT INTO t(v) VALUES(zeroblob(20000)); COMMIT");
  std::vector<CommitFrames> commits = ReadAll();
  App("INSERT INTO t(v) VALUES(2)");
  capture_.reset();
  OpenCapture();
  WalPosition unknown = commits[0].end;
  unknown.checksum[0] = unknown.checksum[1] = 0;
  unknown.frame -= 1;  // inside the transaction: no commit mark
  EXPECT_EQ(capture_->ResumeAt(unknown, page_count_), false);
  unknown.frame += 1;
  EXPECT_EQ(capture_->ResumeAt(unknown, page_count_), true);
  EXPECT_EQ(ReadAll().size(), 1u);
}

TEST_F(CapturePins, DoNotResumeAfterAReset) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_EQ(ReadAll().size(), 1u);
  capture_.reset();
  App("PRAGMA wal_checkpoint(TRUNCATE); INSERT INTO t(v) VALUES(2)");
  OpenCapture();
  EXPECT_EQ(capture_->ResumeAt(read_, page_count_), false);
  EXPECT_TRUE(capture_->PinImage().ok());
}

TEST_F(CapturePins, SayGapWhenTheWalWentBackAndGoOnFromAnImage) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ReadAll();
  WalPosition beyond = read_;
  beyond.frame += 7;
  capture_->Rewind(beyond, page_count_);
  Result<std::optional<CommitFrames>> next = capture_->Next();
  ASSERT_FALSE(next.ok());
  EXPECT_EQ(next.code(), Errc::kGap);
  EXPECT_TRUE(capture_->PinImage().ok());
  App("INSERT INTO t(v) VALUES(2)");
  EXPECT_EQ(ReadAll().size(), 1u);
}

TEST_F(CapturePins, ImageIsExactWhileWritersAndCheckpointsGoOn) {
  CreateDb();
  for (int i = 0; i < 50; ++i) App("INSERT INTO t(v) VALUES(zeroblob(3000))");
  StartCapture();
  std::vector<std::vector<std::byte>> image(page_count_, std::vector<std::byte>(4096));
  App("UPDATE t SET v=randomblob(3000)");
  App("PRAGMA wal_checkpoint(PASSIVE)");
  for (uint32_t i = 0; i < page_count_; ++i) ASSERT_TRUE(capture_->ReadImagePage(Pgno(i + 1), image[i]).ok());
  for (const std::vector<std::byte>& page : image) {
    // zeroblob(3000) left long runs of zeros in each data page; random bytes would have none.
    size_t zeros = static_cast<size_t>(std::count(page.begin(), page.end(), std::byte{0}));
    EXPECT_GT(zeros, 500u);
  }
}

TEST_F(CapturePins, HealATornHeaderThroughSqlite) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_EQ(ReadAll().size(), 1u);
  std::unique_ptr<LiveDb> dead = Live();
  size_t change = sqlite::kWalIndexHeaderBytes + offsetof(sqlite::WalIndexHeader, change);
  dead->SetWord(change, dead->Word(change) + 1);  // the writer died between its two copies
  sqlite::WalIndexHeader header;
  ASSERT_FALSE(dead->TryReadHeader(header));
  EXPECT_TRUE(StepUntil([&] { return dead->TryReadHeader(header); }));
  EXPECT_GT(capture_->stats().recoveries, 0u);
  App("INSERT INTO t(v) VALUES(2)");
  EXPECT_EQ(ReadAll().size(), 1u);
  EXPECT_EQ(capture_->stats().gaps, 0u);
}

TEST_F(CapturePins, RefuseADatabaseThatWasReplaced) {
  CreateDb();
  StartCapture();
  std::filesystem::rename(db_, db_ + ".old");
  std::ofstream(db_) << "another";
  Status step = Ok();
  for (Clock::time_point end = Clock::now() + seconds(10); step.ok() && Clock::now() < end; step = capture_->Step()) {
    capture_->Wait(Clock::now() + milliseconds(20));
  }
  ASSERT_FALSE(step.ok());
  EXPECT_EQ(step.code(), Errc::kRefused);
  EXPECT_NE(step.error().message().find("replaced"), std::string::npos);
}

TEST_F(CapturePins, CheckpointAnIdleDatabaseSoThatATruncateWorks) {
  CreateDb();
  options_.checkpoint_idle = milliseconds(20);
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_TRUE(TurnUntil([&] { return Kind() == PinKind::kZero; }));
  EXPECT_GT(capture_->stats().checkpoints, 0u);
  App("PRAGMA wal_checkpoint(TRUNCATE)");
  EXPECT_EQ(std::filesystem::file_size(db_ + "-wal"), 0u);
}

TEST_F(CapturePins, ACommitEndsTheWait) {
  CreateDb();
  StartCapture();
  std::jthread app([this] { App("INSERT INTO t(v) VALUES(1)"); });
  size_t commits = 0;
  Clock::time_point start = Clock::now();
  while (commits == 0 && Clock::now() - start < seconds(20)) {
    ASSERT_TRUE(capture_->Step().ok());
    commits += ReadAll().size();
    if (commits == 0) capture_->Wait(Clock::now() + seconds(30));
  }
  EXPECT_EQ(commits, 1u);
}

TEST_F(CapturePins, WakeEndsTheWait) {
  CreateDb();
  StartCapture();
  ASSERT_TRUE(TurnUntil([&] { return Kind() == PinKind::kZero; }));
  Clock::time_point start = Clock::now();
  std::jthread waker([this] { capture_->Wake(); });
  for (int i = 0; i < 3; ++i) capture_->Wait(start + seconds(30));  // a bit that is not taken keeps ending waits
  EXPECT_LT(Clock::now() - start, seconds(20));
}

TEST_F(CapturePins, DoNotSpinWhenTheCallerHoldsBack) {
  CreateDb();
  StartCapture();
  for (int i = 0; i < 3; ++i) App("INSERT INTO t(v) VALUES(1)");
  ASSERT_TRUE(capture_->Next().ok());  // one of three: the window is full
  ASSERT_TRUE(capture_->Step().ok());
  Clock::time_point start = Clock::now();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(capture_->Step().ok());
    capture_->Wait(Clock::now() + seconds(1));
  }
  EXPECT_GT(Clock::now() - start, milliseconds(20));
}

}  // namespace
}  // namespace runnel::publisher
