#include "ltx/format/checksum.h"
#include "tests/unit/replica/fixture.h"

namespace runnel::replica {
namespace {

TEST_F(ReplicaTest, ShowsEachCommitToStockReadersAndStaysByteIdentical) {
  StartReplica();
  Client reader(path());
  EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "1");
  for (int i = 2; i <= 50; ++i) {
    ASSERT_OK(Follow("INSERT INTO t VALUES(" + std::to_string(i) + ", randomblob(3000))"));
    EXPECT_EQ(reader.Row("SELECT count(*), max(a) FROM t"), std::to_string(i) + "|" + std::to_string(i));
  }
  EXPECT_EQ(reader.Row("PRAGMA integrity_check"), "ok");
  ExpectSameImage();
}

TEST_F(ReplicaTest, AReaderKeepsItsSnapshotWhileCommitsArrive) {
  StartReplica();
  Client old(path());
  old.Exec("BEGIN");
  EXPECT_EQ(old.Row("SELECT count(*) FROM t"), "1");
  for (int i = 0; i < 20; ++i) {
    ASSERT_OK(Follow("INSERT INTO t VALUES(2, randomblob(5000))"));
    ASSERT_OK(MaintainLater());
  }
  EXPECT_EQ(old.Row("SELECT count(*) FROM t"), "1");
  EXPECT_EQ(old.Row("PRAGMA integrity_check"), "ok");
  old.Exec("COMMIT");
  EXPECT_EQ(old.Row("SELECT count(*) FROM t"), "21");
}

TEST_F(ReplicaTest, FramesOfAnUnfinishedCommitAreInvisible) {
  StartReplica();
  testing::SourceCommit commit = source_->Run(
      "WITH RECURSIVE n(i) AS (SELECT 2 UNION ALL SELECT i+1 FROM n WHERE i<500) "
      "INSERT INTO t SELECT i, randomblob(2000) FROM n");
  ASSERT_OK(replica_->Begin(source_->page_size()));
  Client reader(path());
  for (const testing::SourcePage& page : commit.pages) {
    ASSERT_OK(replica_->AddPage(page.pgno, page.bytes));
    if (page.pgno.raw() % 50 == 0) {
      EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "1");
    }
  }
  ASSERT_OK(replica_->Commit({.post = commit.post, .page_count = commit.page_count}));
  EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "500");
  ExpectSameImage();
}

TEST_F(ReplicaTest, AnAbortedCommitLeavesNothingBehind) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t VALUES(2, 'two')"));
  testing::SourceCommit commit = source_->Run("INSERT INTO t SELECT 3, randomblob(200000)");
  ASSERT_OK(replica_->Begin(source_->page_size()));
  for (const testing::SourcePage& page : commit.pages) ASSERT_OK(replica_->AddPage(page.pgno, page.bytes));
  replica_->Abort();
  Client reader(path());
  EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "2");
  ASSERT_OK(Apply(commit));
  EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "3");
  EXPECT_EQ(reader.Row("PRAGMA integrity_check"), "ok");
  ExpectSameImage();
}

TEST_F(ReplicaTest, RefusesPagesThatDoNotLeadToThePositionAndShowsTheOldOne) {
  StartReplica();
  Position before = replica_->state().at;
  testing::SourceCommit commit = source_->Run("INSERT INTO t SELECT 2, randomblob(50000)");
  testing::SourceCommit flipped = commit;
  flipped.pages.back().bytes[100] ^= std::byte{1};
  EXPECT_EQ(Apply(flipped).code(), Errc::kCorrupt);
  testing::SourceCommit missing = commit;
  missing.pages.erase(missing.pages.begin() + 1);
  EXPECT_EQ(Apply(missing).code(), Errc::kCorrupt);
  testing::SourceCommit twice = commit;
  twice.pages.push_back(twice.pages.front());
  EXPECT_EQ(Apply(twice).code(), Errc::kCorrupt);
  testing::SourceCommit shorter = commit;
  --shorter.page_count;
  EXPECT_EQ(Apply(shorter).code(), Errc::kCorrupt);
  EXPECT_EQ(replica_->state().at, before);
  EXPECT_EQ(replica_->stats().refused_commits, 4u);
  Client reader(path());
  EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "1");
  EXPECT_EQ(reader.Row("PRAGMA integrity_check"), "ok");
  Reattach();
  EXPECT_EQ(replica_->state().at, before);
  ASSERT_OK(Apply(commit));
  ExpectSameImage();
}

TEST_F(ReplicaTest, RefusesTheLockPageAndAnotherPageSize) {
  StartReplica(65536);
  ASSERT_OK(replica_->Begin(source_->page_size()));
  std::vector<std::byte> page(65536);
  EXPECT_EQ(replica_->AddPage(LockPage(source_->page_size()), page).code(), Errc::kCorrupt);
  EXPECT_EQ(replica_->Begin(PageSize(4096)).code(), Errc::kUnsupported);
}

TEST_F(ReplicaTest, GrowsAndShrinksWithItsSource) {
  StartReplica();
  for (int round = 0; round < 3; ++round) {
    ASSERT_OK(Follow("INSERT INTO t SELECT 9, randomblob(900000)"));
    uint32_t large = replica_->state().page_count;
    ASSERT_OK(Follow("DELETE FROM t WHERE a=9"));
    ASSERT_OK(Follow("VACUUM"));
    EXPECT_LT(replica_->state().page_count, large);
    ExpectSameImage();
    Reattach();
    ExpectSameImage();
  }
  EXPECT_EQ(Client(path()).Row("PRAGMA integrity_check"), "ok");
  ASSERT_OK(replica_->Detach());
  replica_.reset();
  ExpectSameFile();
}

TEST_F(ReplicaTest, CommitsWithoutPagesMoveThePosition) {
  StartReplica();
  Position next{source_->position().txid.Next(), source_->position().checksum};
  ASSERT_OK(replica_->Begin(source_->page_size()));
  ASSERT_OK(replica_->Commit({.post = next, .page_count = source_->page_count(), .log_sequence = 99}));
  EXPECT_EQ(replica_->state().at, next);
  Reattach();
  EXPECT_EQ(replica_->state().at, next);
  EXPECT_EQ(replica_->state().log_sequence, 99u);
}

TEST_F(ReplicaTest, NoCommitTakesReadersBack) {
  StartReplica();
  testing::SourceCommit old = source_->Snapshot();
  ASSERT_OK(Follow("INSERT INTO t VALUES(2, 'two')"));
  EXPECT_EQ(Apply(old).code(), Errc::kRefused);
  EXPECT_EQ(Client(path()).Row("SELECT count(*) FROM t"), "2");
  ExpectSameImage();
}

TEST_F(ReplicaTest, ANewLineageIsTakenAsThePagesThatDiffer) {
  StartReplica();
  testing::CommitSource other(dir_ / "other.db", 4096, "CREATE TABLE u(x); INSERT INTO u VALUES(randomblob(20000));");
  testing::SourceCommit all = other.Snapshot();
  ASSERT_OK(replica_->Begin(PageSize(4096)));
  size_t sent = 0;
  for (const testing::SourcePage& page : all.pages) {
    if (ltx::PageChecksum(page.pgno, page.bytes) == replica_->PageChecksumOf(page.pgno)) continue;
    ASSERT_OK(replica_->AddPage(page.pgno, page.bytes));
    ++sent;
  }
  EXPECT_GT(sent, 0u);
  LineageBytes lineage = {9};
  ASSERT_OK(replica_->Commit({.post = all.post, .page_count = all.page_count, .lineage = lineage}));
  EXPECT_EQ(Client(path()).Row("SELECT length(x) FROM u"), "20000");
  Reattach();
  EXPECT_EQ(replica_->state().lineage, lineage);
}

class ReplicaPageSizes : public ReplicaTest, public ::testing::WithParamInterface<std::tuple<uint32_t, SyncMode>> {};

TEST_P(ReplicaPageSizes, FollowsALedgerThroughEverything) {
  uint32_t page_size = std::get<0>(GetParam());
  options_.sync = std::get<1>(GetParam());
  options_.checkpoint_frames = 60;
  MakeSource(page_size, testing::LedgerSetup(page_size == 512 ? 1 : 0));
  ASSERT_OK(Bootstrap());
  ASSERT_OK(Attach());
  Client reader(path());
  for (uint64_t step = 0; step < 120; ++step) {
    ASSERT_OK(Follow(testing::LedgerStep(5, step)));
    ASSERT_OK(MaintainLater());
    ASSERT_EQ(reader.Row("SELECT cnt, tot FROM meta"),
              reader.Row("SELECT count(*), coalesce(sum(bytesum(v)),0) FROM t"));
  }
  EXPECT_EQ(reader.Row("PRAGMA integrity_check"), "ok");
  EXPECT_GT(replica_->stats().resets, 0u);
  ExpectSameImage();
  Reattach();
  ExpectSameImage();
}

INSTANTIATE_TEST_SUITE_P(All, ReplicaPageSizes,
                         ::testing::Values(std::make_tuple(512u, SyncMode::kNormal),
                                           std::make_tuple(1024u, SyncMode::kFull),
                                           std::make_tuple(4096u, SyncMode::kOff),
                                           std::make_tuple(65536u, SyncMode::kNormal)));

TEST_F(ReplicaTest, WalsOfManyIndexBlocksAreReadAndRecovered) {
  options_.wal_limit_bytes = uint64_t{1} << 40;
  StartReplica(512);
  for (int i = 0; i < 6; ++i) {
    ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(900000)"));
    ASSERT_OK(Follow("UPDATE t SET a=a+1"));
  }
  ASSERT_GT(replica_->stats().wal_frames, 9000u);
  {
    Client reader(path());
    EXPECT_EQ(reader.Row("PRAGMA integrity_check"), "ok");
    ExpectSameImage();
    Reattach();  // with the reader alive: the index is taken as it is
    ExpectSameImage();
  }
  Reattach();  // alone: recovered from the file
  ExpectSameImage();
  ASSERT_OK(MaintainLater());
  ASSERT_OK(Follow("DELETE FROM t"));
  EXPECT_EQ(replica_->stats().resets, 1u);
  ExpectSameImage();
}

TEST_F(ReplicaTest, ScrubFindsAFlippedPageAndRepairBringsItBack) {
  StartReplica();
  for (int i = 0; i < 5; ++i) ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(50000)"));
  ASSERT_OK(MaintainLater());                         // all in the file
  ASSERT_OK(Follow("INSERT INTO t VALUES(3, 'x')"));  // and a WAL that holds only these pages
  DamageFile(10);
  auto report = replica_->Scrub(1000);
  ASSERT_TRUE(report.ok());
  EXPECT_TRUE(report->wrapped);
  EXPECT_EQ(report->pages, source_->page_count());
  ASSERT_EQ(report->mismatches, std::vector<Pgno>{Pgno(10)});
  Position at = replica_->state().at;
  std::vector<std::byte> wrong(4096);
  EXPECT_EQ(replica_->Repair(Pgno(10), wrong).code(), Errc::kCorrupt);
  ASSERT_OK(replica_->Repair(Pgno(10), source_->page(Pgno(10))));
  EXPECT_EQ(replica_->state().at, at);
  EXPECT_TRUE(replica_->Scrub(1000)->mismatches.empty());
  EXPECT_EQ(Client(path()).Row("PRAGMA integrity_check"), "ok");
  ExpectSameImage();
}

TEST_F(ReplicaTest, ScrubLooksAtTheFileUnderFramesThatAreInIt) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(90000)"));
  // Not copied yet: the file is older, and rightly so.
  DamageFile(10);
  EXPECT_TRUE(replica_->Scrub(1000)->mismatches.empty());
  ASSERT_OK(MaintainLater());
  EXPECT_TRUE(replica_->Scrub(1000)->mismatches.empty());
  // Copied, and still readable from the WAL: it would come to light when the WAL starts over.
  DamageFile(10);
  ASSERT_EQ(replica_->Scrub(1000)->mismatches, std::vector<Pgno>{Pgno(10)});
  EXPECT_TRUE(*replica_->RepairFromCopy(Pgno(10)));
  ASSERT_OK(MaintainLater());
  EXPECT_TRUE(replica_->Scrub(1000)->mismatches.empty());
  ASSERT_OK(Follow("INSERT INTO t VALUES(3, 'x')"));
  ExpectSameImage();
  ASSERT_OK(replica_->Detach());
  replica_.reset();
  EXPECT_EQ(Client(path()).Row("PRAGMA integrity_check"), "ok");
}

TEST_F(ReplicaTest, ADamagedFrameIsRepairedFromTheFileOnceItIsThere) {
  StartReplica();
  for (bool copied : {true, false}) {
    ASSERT_OK(Follow("UPDATE t SET b=randomblob(90000)"));
    if (copied) ASSERT_OK(MaintainLater());
    DamageNewestFrame(10);
    ASSERT_EQ(replica_->Scrub(1000)->mismatches, std::vector<Pgno>{Pgno(10)});
    EXPECT_EQ(*replica_->RepairFromCopy(Pgno(10)), copied);
    if (!copied) ASSERT_OK(replica_->Repair(Pgno(10), source_->page(Pgno(10))));
    EXPECT_TRUE(replica_->Scrub(1000)->mismatches.empty());
    ExpectSameImage();
  }
}

}  // namespace
}  // namespace runnel::replica
