// What other programs may do to a replica while it is being followed.
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "ltx/sqlite/live/live_db.h"
#include "ltx/sqlite/wal_index.h"
#include "tests/unit/replica/fixture.h"

namespace runnel::replica {
namespace {

TEST_F(ReplicaTest, NoStockClientCanWriteIt) {
  StartReplica();
  Client writer(path());
  EXPECT_EQ(writer.Exec("INSERT INTO t VALUES(9, 9)"), SQLITE_BUSY);
  EXPECT_EQ(writer.Exec("BEGIN IMMEDIATE"), SQLITE_BUSY);
  EXPECT_NE(writer.Exec("PRAGMA journal_mode=DELETE"), SQLITE_OK);
  EXPECT_NE(writer.Exec("VACUUM"), SQLITE_OK);
  ASSERT_OK(Follow("INSERT INTO t VALUES(2, 2)"));
  EXPECT_EQ(writer.Row("SELECT count(*) FROM t"), "2");
  ASSERT_OK(replica_->Detach());
  replica_.reset();
  EXPECT_EQ(writer.Exec("INSERT INTO t VALUES(9, 9)"), SQLITE_OK);  // the guard ends with us
}

TEST_F(ReplicaTest, StockCheckpointsOfAllKindsDoNoHarm) {
  StartReplica();
  Client checkpointer(path());
  Client reader(path());
  for (const char* kind : {"PASSIVE", "FULL", "RESTART", "TRUNCATE"}) {
    for (int i = 0; i < 10; ++i) {
      ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(9000)"));
      checkpointer.Exec(std::string("PRAGMA wal_checkpoint(") + kind + ")");
      ASSERT_EQ(reader.Row("SELECT count(*) FROM t"), checkpointer.Row("SELECT count(*) FROM t"));
      ASSERT_EQ(reader.Row("PRAGMA integrity_check"), "ok");
    }
  }
  EXPECT_GT(replica_->stats().resets, 5u);
  ExpectSameImage();
  Reattach();
  ExpectSameImage();
}

TEST_F(ReplicaTest, AClientThatClosesLastLeavesTheWalInPlace) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t VALUES(2, 2)"));
  Client(path()).Row("SELECT count(*) FROM t");
  EXPECT_TRUE(std::filesystem::exists(path() + "-wal"));
  ASSERT_OK(Follow("INSERT INTO t VALUES(3, 3)"));
  EXPECT_EQ(Client(path()).Row("SELECT count(*) FROM t"), "3");
}

// In a child process that has given up root, on files it may only read.
std::string AsNobody(const std::string& path, const std::string& sql) {
  int channel[2];
  EXPECT_EQ(pipe(channel), 0);
  pid_t child = fork();
  if (child == 0) {
    if (getuid() == 0 && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(3);
    Client reader("file:" + path + "?mode=ro", SQLITE_OPEN_READONLY | SQLITE_OPEN_URI);
    std::string row = reader.Row(sql);
    ssize_t written = write(channel[1], row.data(), row.size());
    _exit(written == static_cast<ssize_t>(row.size()) ? 0 : 4);
  }
  close(channel[1]);
  char text[200];
  ssize_t got = read(channel[0], text, sizeof text);
  close(channel[0]);
  int status = 0;
  waitpid(child, &status, 0);
  EXPECT_EQ(status, 0);
  return std::string(text, got > 0 ? static_cast<size_t>(got) : 0);
}

TEST_F(ReplicaTest, AClientWithoutWritePermissionReads) {
  if (getuid() != 0) GTEST_SKIP() << "needs root to become somebody else";
  StartReplica();
  std::filesystem::permissions(dir_.path(), std::filesystem::perms(0755));
  for (int i = 2; i < 8; ++i) {
    ASSERT_OK(Follow("INSERT INTO t VALUES(" + std::to_string(i) + ", randomblob(5000))"));
    EXPECT_EQ(AsNobody(path(), "SELECT count(*) FROM t"), std::to_string(i));
    ASSERT_OK(MaintainLater());
    EXPECT_EQ(AsNobody(path(), "SELECT count(*) FROM t"), std::to_string(i));
  }
}

TEST_F(ReplicaTest, ATornHeaderIsMendedWhileAttached) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(9000)"));
  auto live = sqlite::LiveDb::Open({.path = path()});
  ASSERT_TRUE(live.ok());
  (*live)->SetWord(8, (*live)->Word(8) + 1);
  ASSERT_OK(Follow("INSERT INTO t SELECT 3, randomblob(9000)"));
  EXPECT_EQ(replica_->stats().recoveries, 2u);
  EXPECT_EQ(Client(path()).Row("SELECT count(*) FROM t"), "3");
  ExpectSameImage();
}

// What a stock process leaves that is killed in its own WAL reset.
TEST_F(ReplicaTest, MoreBackfilledThanThereIsIsHealed) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(9000)"));
  Client reader(path());
  reader.Row("SELECT count(*) FROM t");  // keeps the wal-index alive
  for (bool attached : {false, true}) {
    if (!attached) replica_.reset();
    {
      auto live = sqlite::LiveDb::Open({.path = path()});
      ASSERT_TRUE(live.ok());
      (*live)->SetWord(sqlite::kBackfillOffset, 1000);
    }
    if (!attached) {
      ASSERT_OK(Attach());
      EXPECT_EQ(replica_->stats().recoveries, 1u);
    }
    ASSERT_OK(Follow("INSERT INTO t SELECT 3, randomblob(9000)"));
    EXPECT_LE(replica_->stats().wal_backfilled, replica_->stats().wal_frames);
    EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), std::to_string(source_->position().txid.raw()));
    ExpectSameImage();
  }
}

TEST_F(ReplicaTest, PausesAtTheWalLimitUntilTheReaderLeaves) {
  options_.wal_limit_bytes = 200000;
  options_.pause_at_wal_limit = true;
  StartReplica();
  Client reader(path());
  reader.Exec("BEGIN");
  reader.Row("SELECT count(*) FROM t");
  Status begun = Ok();
  testing::SourceCommit commit;
  int applied = 0;
  for (; applied < 100; ++applied) {
    commit = source_->Run("INSERT INTO t SELECT 2, randomblob(9000)");
    begun = Apply(commit);
    if (!begun.ok()) break;
    ASSERT_OK(MaintainLater());
  }
  ASSERT_FALSE(begun.ok());
  EXPECT_EQ(begun.code(), Errc::kUnavailable);
  EXPECT_TRUE(replica_->stats().paused);
  EXPECT_LT(replica_->stats().wal_bytes, 300000u);
  ASSERT_OK(MaintainLater());
  EXPECT_TRUE(replica_->stats().paused);
  reader.Exec("COMMIT");
  ASSERT_OK(MaintainLater());
  EXPECT_FALSE(replica_->stats().paused);
  ASSERT_OK(Apply(commit));
  ExpectSameImage();
}

TEST_F(ReplicaTest, LetsTheWalGrowAfterTheLongestPauseWhenToldTo) {
  options_.wal_limit_bytes = 200000;
  StartReplica();
  Client reader(path());
  reader.Exec("BEGIN");
  reader.Row("SELECT count(*) FROM t");
  for (int i = 0; i < 100; ++i) {
    testing::SourceCommit commit = source_->Run("INSERT INTO t SELECT 2, randomblob(9000)");
    ASSERT_OK(Apply(commit));
    ASSERT_OK(MaintainLater());  // two calls, an hour apart: pause and give up
  }
  EXPECT_GT(replica_->stats().pauses_given_up, 2u);
  EXPECT_LT(replica_->stats().pauses_given_up, 20u);
  EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "1");
  reader.Exec("COMMIT");
  ASSERT_OK(MaintainLater());
  ASSERT_OK(Follow("INSERT INTO t VALUES(3, 3)"));
  EXPECT_EQ(replica_->stats().resets, 1u);
  EXPECT_LT(*sqlite::LiveDb::Open({.path = path()}).value()->WalBytes(), 200000u);  // a WAL above the limit is cut
  ExpectSameImage();
}

}  // namespace
}  // namespace runnel::replica
