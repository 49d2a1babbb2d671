#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <functional>
#include <memory>

#include "ltx/format/checksum.h"
#include "tests/unit/replica/fixture.h"

namespace runnel::replica {
namespace {

TEST_F(ReplicaTest, AttachWithoutABootstrapIsNotFound) {
  MakeSource();
  EXPECT_EQ(Attach().code(), Errc::kNotFound);
  // A database that somebody else made is no replica.
  Client(path(), SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE).Exec("PRAGMA journal_mode=WAL; CREATE TABLE x(y)");
  EXPECT_EQ(Attach().code(), Errc::kNotFound);
  EXPECT_EQ(Bootstrap().code(), Errc::kRefused);
  ASSERT_OK(Bootstrap(true));
  ASSERT_OK(Attach());
  ExpectSameImage();
}

TEST_F(ReplicaTest, ASecondSubscriberIsRefusedAndToldTheProcess) {
  StartReplica();
  Result<std::unique_ptr<Replica>> second = Replica::Attach(options_);
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), Errc::kRefused);
  EXPECT_NE(second.error().message().find(std::to_string(getpid())), std::string::npos) << second.error().message();
  EXPECT_EQ(ReplicaImage::Create({.path = path(), .page_size = PageSize(4096), .replace = true}).code(),
            Errc::kRefused);
  ASSERT_OK(Follow("INSERT INTO t VALUES(2, 2)"));
}

TEST_F(ReplicaTest, ReattachStandsWhereItStoodWithAndWithoutDetach) {
  StartReplica();
  for (int i = 0; i < 6; ++i) {
    ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(20000)"));
    if (i % 2 == 0) ASSERT_OK(MaintainLater());
    if (i % 3 == 0) ASSERT_OK(replica_->Detach());
    Reattach();
    EXPECT_EQ(replica_->state().lineage, kLineage);
    EXPECT_EQ(replica_->state().log_sequence, source_->position().txid.raw());
    ExpectSameImage();
  }
}

TEST_F(ReplicaTest, ALastCloseByOthersThatDeletesTheWalIsFollowed) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(20000)"));
  replica_.reset();
  Client(path()).Row("SELECT count(*) FROM t");
  ASSERT_FALSE(std::filesystem::exists(path() + "-wal"));
  ASSERT_OK(Attach());
  ExpectSameImage();
  ASSERT_OK(Follow("INSERT INTO t SELECT 3, randomblob(20000)"));
  ExpectSameImage();
}

TEST_F(ReplicaTest, AForeignWriteWhileDetachedIsTold) {
  MakeSource(4096, "CREATE TABLE t(a, b); CREATE TABLE u(a, b); INSERT INTO u VALUES(1, 'one');");
  ASSERT_OK(Bootstrap());
  ASSERT_OK(Attach());
  ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(20000)"));
  Position before = replica_->state().at;
  for (bool wal_survives : {true, false}) {
    ASSERT_OK(replica_->Detach());
    replica_.reset();
    std::unique_ptr<Client> keeper = wal_survives ? std::make_unique<Client>(path()) : nullptr;
    if (keeper) keeper->Row("SELECT count(*) FROM t");
    ASSERT_EQ(Client(path()).Exec("UPDATE u SET b=b || 'not from the source'"), SQLITE_OK);
    ASSERT_OK(Attach());
    EXPECT_FALSE(replica_->state().exact);
    EXPECT_TRUE(replica_->state().foreign_write);
    EXPECT_NE(replica_->state().note.find(ToString(before)), std::string::npos) << replica_->state().note;
    // A commit on top is refused; the pages that differ bring it back under the reader's eyes.
    testing::SourceCommit next = source_->Run("INSERT INTO t VALUES(4, 4)");
    EXPECT_EQ(Apply(next).code(), Errc::kCorrupt);
    EXPECT_TRUE(replica_->state().foreign_write);
    ASSERT_OK(Apply(source_->Snapshot()));
    EXPECT_FALSE(replica_->state().foreign_write);
    ExpectSameImage();
    before = replica_->state().at;
  }
}

TEST_F(ReplicaTest, AReplicaTakenOutOfWalModeCanOnlyBeReplaced) {
  StartReplica();
  ASSERT_OK(replica_->Detach());
  replica_.reset();
  Client(path()).Exec("PRAGMA journal_mode=DELETE");
  EXPECT_EQ(Attach().code(), Errc::kCorrupt);
  ASSERT_OK(Bootstrap(true));
  ASSERT_OK(Attach());
  ExpectSameImage();
}

TEST_F(ReplicaTest, ALostOrStalePageTableIsBuiltAgain) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(20000)"));
  std::filesystem::copy_file(side("pages"), dir_ / "old");
  ASSERT_OK(Follow("INSERT INTO t SELECT 3, randomblob(20000)"));
  for (const std::function<void()>& harm : std::vector<std::function<void()>>{
           [&] { std::filesystem::remove(side("pages")); },
           [&] {
             std::filesystem::copy_file(dir_ / "old", side("pages"), std::filesystem::copy_options::overwrite_existing);
           },
           [&] { std::filesystem::resize_file(side("pages"), 100); }}) {
    replica_.reset();
    harm();
    ASSERT_OK(Attach());
    ExpectSameImage();
  }
  ASSERT_OK(Follow("INSERT INTO t SELECT 4, randomblob(20000)"));
  ExpectSameImage();
}

TEST_F(ReplicaTest, ADamagedPositionFileIsMadeAgainFromThePageTable) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(20000)"));
  for (bool detach : {false, true}) {
    if (detach) ASSERT_OK(replica_->Detach());
    replica_.reset();
    DamagePosition();
    ASSERT_OK(Attach());
    ExpectSameImage();
    EXPECT_EQ(replica_->state().lineage, LineageBytes());
    EXPECT_NE(replica_->state().note.find("both slots"), std::string::npos) << replica_->state().note;
    testing::SourceCommit next = source_->Run("INSERT INTO t SELECT 3, randomblob(20000)");
    ASSERT_OK(replica_->Begin(source_->page_size()));
    for (const testing::SourcePage& page : next.pages) ASSERT_OK(replica_->AddPage(page.pgno, page.bytes));
    ASSERT_OK(replica_->Commit({.post = next.post, .page_count = next.page_count, .lineage = kLineage}));
    Reattach();
    EXPECT_EQ(replica_->state().lineage, kLineage);
    ExpectSameImage();
  }
}

TEST_F(ReplicaTest, ADamagedPositionFileProvesNothingBesideAnotherImage) {
  StartReplica();
  ASSERT_OK(Follow("INSERT INTO t SELECT 2, randomblob(20000)"));
  ASSERT_OK(replica_->Detach());
  replica_.reset();
  Client(path()).Exec("INSERT INTO t VALUES(6, 6)");
  DamagePosition();
  Status attached = Attach();
  EXPECT_EQ(attached.code(), Errc::kCorrupt);
  EXPECT_NE(attached.error().message().find("nothing else proves"), std::string::npos) << attached.error().message();
  std::filesystem::remove(side("pages"));
  EXPECT_EQ(Attach().code(), Errc::kCorrupt);
  EXPECT_EQ(Client(path()).Row("SELECT count(*) FROM t"), "3");
}

// The WAL of the replica is still there and names its last commit, but the file below it is another.
TEST_F(ReplicaTest, AnotherFileUnderTheSameWalIsFound) {
  StartReplica();
  std::filesystem::copy_file(path(), dir_ / "old");
  ASSERT_OK(Follow("UPDATE t SET b=randomblob(20000)"));
  ASSERT_OK(MaintainLater());
  ASSERT_OK(Follow("INSERT INTO t VALUES(2, 2)"));
  for (bool in_place : {false, true}) {
    if (in_place) {
      ASSERT_OK(MaintainLater());
      ASSERT_OK(replica_->Detach());
    }
    replica_.reset();
    if (in_place) {
      Shell("cat '" + (dir_ / "old").string() + "' > '" + path() + "'");
    } else {
      std::filesystem::rename(path(), dir_ / "away");
      std::filesystem::copy_file(dir_ / "old", path());
    }
    ASSERT_OK(Attach());
    EXPECT_FALSE(replica_->state().exact);
    EXPECT_TRUE(replica_->state().foreign_write);
    ASSERT_OK(Apply(source_->Snapshot()));
    ASSERT_OK(MaintainLater());
    ASSERT_OK(Follow("INSERT INTO t VALUES(3, 3)"));  // the WAL starts over with it
    ExpectSameImage();
  }
}

// Another boot, and the WAL's last commits never reached the disk: the position file knows more than the image shows.
TEST_F(ReplicaTest, AfterAPowerLossTheSpanIsAppliedAsOneCommit) {
  options_.sync = SyncMode::kNormal;
  StartReplica();
  std::vector<testing::SourceCommit> commits;
  for (int i = 0; i < 8; ++i) {
    commits.push_back(source_->Run("INSERT INTO t SELECT 2, randomblob(9000)"));
    ASSERT_OK(Apply(commits.back()));
    if (i == 4) {
      // What the disk will have: image and WAL at commit 4.
      for (const char* suffix : {"", "-wal"})
        std::filesystem::copy_file(path() + suffix, dir_ / ("disk" + std::string(suffix)));
    }
  }
  replica_.reset();
  for (const char* suffix : {"", "-wal"}) {
    std::filesystem::copy_file(dir_ / ("disk" + std::string(suffix)), path() + suffix,
                               std::filesystem::copy_options::overwrite_existing);
  }
  std::filesystem::remove(path() + "-shm");
  {
    auto position = PositionFile::Open(side("position"));
    ASSERT_TRUE(position.ok());
    PositionRecord record = (*position)->record();
    record.boot = {1, 2, 3};
    record.lo = record.hi;
    (*position)->Write(record);
  }
  ASSERT_OK(Attach());
  const ReplicaState& state = replica_->state();
  EXPECT_FALSE(state.exact);
  EXPECT_FALSE(state.foreign_write);
  EXPECT_EQ(state.image, commits[4].post.checksum);
  EXPECT_EQ(state.durable.txid, Txid(1));
  EXPECT_EQ(state.attempted, commits[7].post);
  // One by one is not possible: readers would go back.
  EXPECT_EQ(Apply(commits[0]).code(), Errc::kRefused);
  ASSERT_OK(Apply(testing::Union(commits, 0, 7)));
  ExpectSameImage();
  Reattach();
  ExpectSameImage();
}

TEST_F(ReplicaTest, ANewImageTakesThePlaceOfAnUnusedOneOnly) {
  StartReplica();
  replica_.reset();
  source_->Run("INSERT INTO t SELECT 2, randomblob(30000)");
  {
    Client reader(path());
    EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "1");
    EXPECT_EQ(Bootstrap(true).code(), Errc::kUnavailable);
    EXPECT_EQ(reader.Row("SELECT count(*) FROM t"), "1");
  }
  EXPECT_EQ(Bootstrap(false).code(), Errc::kRefused);
  ASSERT_EQ(chmod(path().c_str(), 0640), 0);
  ASSERT_OK(Bootstrap(true));
  EXPECT_EQ(std::filesystem::status(path()).permissions(), std::filesystem::perms(0640));
  EXPECT_EQ(Client(path()).Row("SELECT count(*) FROM t"), "2");
  ASSERT_OK(Attach());
  EXPECT_EQ(std::filesystem::status(side("position")).permissions(), std::filesystem::perms(0640));
  ExpectSameImage();
}

TEST_F(ReplicaTest, ReplacesAnImageOfAnotherPageSize) {
  StartReplica(4096);
  replica_.reset();
  std::filesystem::remove(dir_ / "source.db");
  std::filesystem::remove(dir_ / "source.db-wal");
  source_.reset();
  std::filesystem::create_directory(dir_ / "other");
  source_ = std::make_unique<testing::CommitSource>(dir_ / "other/source.db", 1024, "CREATE TABLE t(a, b)");
  ASSERT_OK(Bootstrap(true));
  ASSERT_OK(Attach());
  ASSERT_OK(Follow("INSERT INTO t VALUES(1, 2)"));
  ExpectSameImage();
}

TEST_F(ReplicaTest, AnImageIsProvenBeforeItIsShown) {
  MakeSource();
  testing::SourceCommit all = source_->Snapshot();
  auto build = [&](const testing::SourceCommit& commit, Position position, uint32_t page_count) -> Status {
    TRY_ASSIGN(std::unique_ptr<ReplicaImage> image,
               ReplicaImage::Create({.path = path(), .page_size = PageSize(4096)}));
    for (const testing::SourcePage& page : commit.pages) TRY(image->AddPage(page.pgno, page.bytes));
    return image->Finish({.lineage = kLineage, .position = position, .page_count = page_count});
  };
  EXPECT_EQ(build(all, {all.post.txid, Checksum(all.post.checksum.raw() ^ 1)}, all.page_count).code(), Errc::kCorrupt);
  EXPECT_EQ(build(all, all.post, all.page_count + 1).code(), Errc::kCorrupt);
  testing::SourceCommit hole = all;
  hole.pages.erase(hole.pages.begin());
  EXPECT_EQ(build(hole, all.post, all.page_count).code(), Errc::kCorrupt);
  testing::CommitSource rollback(dir_ / "rollback.db", 4096, "CREATE TABLE t(a)");
  testing::SourceCommit journal = rollback.Snapshot();
  journal.pages[0].bytes[18] = journal.pages[0].bytes[19] = std::byte{1};
  EXPECT_EQ(build(journal, all.post, journal.page_count).code(), Errc::kCorrupt);
  EXPECT_FALSE(std::filesystem::exists(path()));
  ASSERT_OK(build(all, all.post, all.page_count));
  EXPECT_TRUE(std::filesystem::exists(path()));
}

// 1 GiB and one page, nearly all of it a hole or zeros.
TEST_F(ReplicaTest, TheLockPageStaysAHoleOnBothSides) {
  constexpr uint32_t kPage = 65536;
  MakeSource(kPage);
  uint32_t lock_page = LockPage(PageSize(kPage)).raw();
  uint32_t base = source_->page_count();
  std::vector<std::byte> zeros(kPage);
  Checksum sum = source_->position().checksum;
  // Zero pages belong to nothing SQLite reads here, but they count in size and checksum.
  auto created = ReplicaImage::Create({.path = path(), .page_size = PageSize(kPage)});
  ASSERT_TRUE(created.ok());
  std::unique_ptr<ReplicaImage> image = std::move(*created);
  for (uint32_t pgno = 1; pgno < lock_page; ++pgno) {
    if (pgno <= base) {
      ASSERT_OK(image->AddPage(Pgno(pgno), source_->page(Pgno(pgno))));
    } else {
      ASSERT_OK(image->AddPage(Pgno(pgno), zeros));
      sum = sum.Toggle(ltx::PageChecksum(Pgno(pgno), zeros));
    }
  }
  ASSERT_OK(image->Finish({.lineage = kLineage, .position = {Txid(5), sum}, .page_count = lock_page}));
  image.reset();
  ASSERT_OK(Attach());
  EXPECT_EQ(replica_->state().page_count, lock_page);
  // One page behind it.
  std::vector<std::byte> page(kPage, std::byte{7});
  sum = sum.Toggle(ltx::PageChecksum(Pgno(lock_page + 1), page));
  ASSERT_OK(replica_->Begin(PageSize(kPage)));
  ASSERT_OK(replica_->AddPage(Pgno(lock_page + 1), page));
  ASSERT_OK(replica_->Commit({.post = {Txid(6), sum}, .page_count = lock_page + 1}));
  ASSERT_OK(MaintainLater());
  std::filesystem::remove(side("pages"));  // forces a scan
  Reattach();
  EXPECT_TRUE(replica_->state().exact) << replica_->state().note;
  EXPECT_EQ(replica_->state().at.txid, Txid(6));
  EXPECT_EQ(Client(path()).Row("SELECT count(*) FROM t"), "1");
}

}  // namespace
}  // namespace runnel::replica
