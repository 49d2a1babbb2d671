// What Next gives: commits exactly as the application made them.
#include <unistd.h>

#include <cstring>
#include <fstream>

#include "ltx/sqlite/wal_format.h"
#include "tests/unit/publisher/capture_fixture.h"

namespace runnel::publisher {
namespace {

class CaptureCommits : public CaptureFixture {};
class CapturePageSizes : public CaptureFixture, public ::testing::WithParamInterface<int> {};

TEST_P(CapturePageSizes, GivesEachCommitOnceAndTheSameImage) {
  CreateDb(GetParam());
  StartImage();
  App("PRAGMA cache_size=10");
  for (int i = 0; i < 100; ++i) App("INSERT INTO t(v) VALUES(randomblob(" + std::to_string(i * 37) + "))");
  PublishAll();
  EXPECT_EQ(image_->state().commits, 100u);
  App("BEGIN; INSERT INTO t(v) SELECT randomblob(900) FROM t,t LIMIT 3000; ROLLBACK");  // spilled, never committed
  PublishAll();
  EXPECT_EQ(image_->state().commits, 100u);
  App("BEGIN; SAVEPOINT a; UPDATE t SET v=randomblob(700); ROLLBACK TO a; UPDATE t SET v=x'01' WHERE id=3; COMMIT");
  App("CREATE INDEX ti ON t(v); DELETE FROM t WHERE id%2");
  App("VACUUM");
  App("DROP INDEX ti");
  PublishAll();
  EXPECT_EQ(image_->state().commits, 105u);
  EXPECT_EQ(Compare(), "");
}

INSTANTIATE_TEST_SUITE_P(Sizes, CapturePageSizes, ::testing::Values(512, 1024, 4096, 65536));

TEST_F(CaptureCommits, NamesNewestFramesInPageOrderAndPlace) {
  CreateDb();
  StartCapture();
  App("PRAGMA cache_size=5");
  App("BEGIN; INSERT INTO t(v) SELECT randomblob(3000) FROM (WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 "
      "FROM x "
      "WHERE i<50) SELECT i FROM x); UPDATE t SET v=randomblob(3000); COMMIT");
  std::vector<CommitFrames> commits = ReadAll();
  ASSERT_EQ(commits.size(), 1u);
  const CommitFrames& commit = commits[0];
  ASSERT_GT(commit.pages.size(), 50u);
  for (size_t i = 1; i < commit.pages.size(); ++i) EXPECT_LT(commit.pages[i - 1].pgno, commit.pages[i].pgno);
  EXPECT_LE(commit.pages.back().pgno.raw(), commit.page_count);
  EXPECT_EQ(commit.wal_offset + commit.wal_bytes, sqlite::FrameOffset(commit.end.frame + 1, 4096));
  EXPECT_TRUE(commit.end.checksum_known());
}

TEST_F(CaptureCommits, ShrinksWithVacuumAndDropsPagesBeyondTheEnd) {
  CreateDb();
  App("INSERT INTO t(v) SELECT randomblob(4000) FROM (WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM x "
      "WHERE i<200) "
      "SELECT i FROM x)");
  StartCapture();
  uint32_t before = page_count_;
  App("DELETE FROM t WHERE id>10");
  App("VACUUM");
  std::vector<CommitFrames> commits = ReadAll();
  ASSERT_EQ(commits.size(), 2u);
  EXPECT_EQ(commits[0].page_count, before);
  EXPECT_LT(commits[1].page_count, before / 2);
  EXPECT_LE(commits[1].pages.back().pgno.raw(), commits[1].page_count);
}

// SQLite 3.40 writes each page it grows by, so the growth is made by telling capture a smaller size to count from.
TEST_F(CaptureCommits, FillsGrowthFromOlderFramesAndTheFile) {
  CreateDb();
  App("INSERT INTO t(v) SELECT randomblob(3000) FROM (WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM x "
      "WHERE i<200) "
      "SELECT i FROM x); PRAGMA wal_checkpoint(TRUNCATE)");
  StartCapture();
  App("UPDATE t SET v=randomblob(3000) WHERE id BETWEEN 20 AND 30");
  App("UPDATE t SET v=randomblob(3000) WHERE id BETWEEN 28 AND 40");
  std::vector<CommitFrames> plain = ReadAll();
  ASSERT_EQ(plain.size(), 2u);
  capture_->Rewind(plain[0].end, 2);
  std::vector<CommitFrames> grown = ReadAll();
  ASSERT_EQ(grown.size(), 1u);
  ASSERT_EQ(grown[0].pages.size(), grown[0].page_count - 2u + (grown[0].pages[0].pgno.raw() <= 2 ? 1u : 0u));
  size_t own = 0;
  size_t older = 0;
  std::vector<std::pair<Pgno, std::vector<std::byte>>> read;
  for (const PageSource& page : grown[0].pages) {
    own += page.frame > plain[0].end.frame ? 1 : 0;
    older += page.frame != 0 && page.frame <= plain[0].end.frame ? 1 : 0;
    Result<Bytes> bytes = capture_->Page(page);
    ASSERT_TRUE(bytes.ok()) << bytes.error().message();
    read.emplace_back(page.pgno, std::vector<std::byte>(bytes->begin(), bytes->end()));
  }
  EXPECT_EQ(own, plain[1].pages.size());
  EXPECT_GE(older, 7u);
  capture_.reset();
  App("PRAGMA wal_checkpoint(TRUNCATE)");
  std::ifstream in(db_, std::ios::binary);
  std::string file{std::istreambuf_iterator<char>(in), {}};
  for (const auto& [pgno, bytes] : read) {
    EXPECT_EQ(file.substr((pgno.raw() - 1) * size_t{4096}, 4096), AsText(bytes)) << "page " << pgno.raw();
  }
}

TEST_F(CaptureCommits, GrowsBackOverPagesThatHaveAnOlderFrame) {
  App("PRAGMA auto_vacuum=FULL");
  CreateDb();
  StartImage();
  std::string rows =
      " SELECT randomblob(4000) FROM (WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM x WHERE i<60) SELECT "
      "i FROM x)";
  App("INSERT INTO t(v)" + rows);
  App("DELETE FROM t");  // auto_vacuum cuts the file
  App("BEGIN; CREATE TABLE x(v); INSERT INTO x" + rows + "; DELETE FROM x; INSERT INTO t(v) VALUES(2); COMMIT");
  App("PRAGMA user_version=7");
  PublishAll();
  EXPECT_EQ(image_->state().commits, 4u);
  EXPECT_EQ(Compare(), "");
}

TEST_F(CaptureCommits, MergesFramesThatOnlyFillASector) {
  CreateDb();
  sqlite3* padded = Connect("?psow=0");
  StartCapture();
  ASSERT_EQ(Try(padded, "PRAGMA synchronous=FULL; PRAGMA wal_autocheckpoint=0"), SQLITE_OK);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(Try(padded, "INSERT INTO t(v) VALUES(randomblob(300))"), SQLITE_OK);
  std::vector<CommitFrames> commits = ReadAll();
  EXPECT_EQ(commits.size(), 100u);
  uint64_t frames = 0;
  uint64_t pages = 0;
  for (const CommitFrames& commit : commits) {
    frames += commit.wal_bytes / (4096 + sqlite::kFrameHeaderBytes);
    pages += commit.pages.size();
  }
  EXPECT_GT(frames, pages + 50) << "SQLite did not pad: the case is not tested";
}

size_t ResidentBytes() {
  std::ifstream statm("/proc/self/statm");
  size_t all = 0;
  size_t resident = 0;
  statm >> all >> resident;
  return resident * static_cast<size_t>(::sysconf(_SC_PAGESIZE));
}

TEST_F(CaptureCommits, ReadsALargeCommitInLittleMemory) {
  CreateDb();
  StartCapture();
  App("PRAGMA cache_size=100");
  App("INSERT INTO t(v) SELECT randomblob(8000) FROM (WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM x "
      "WHERE i<8000) "
      "SELECT i FROM x)");
  ASSERT_TRUE(ReadAll().size() == 1u);
  capture_->Rewind(read_, page_count_);
  App("UPDATE t SET v=randomblob(8000)");
  size_t before = ResidentBytes();
  std::vector<CommitFrames> commits = ReadAll();
  ASSERT_EQ(commits.size(), 1u);
  ASSERT_GT(commits[0].wal_bytes, 50u << 20);
  uint64_t sum = 0;
  for (const PageSource& page : commits[0].pages) {
    Result<Bytes> bytes = capture_->Page(page);
    ASSERT_TRUE(bytes.ok());
    sum += std::to_integer<uint64_t>((*bytes)[100]);
  }
  EXPECT_GT(sum, 0u);
  EXPECT_LT(ResidentBytes() - before, 6u << 20);
}

TEST_F(CaptureCommits, ReadsAgainFromWhereItIsRewound) {
  CreateDb();
  StartCapture();
  for (int i = 0; i < 5; ++i) App("INSERT INTO t(v) VALUES(1)");
  std::vector<CommitFrames> first = ReadAll();
  ASSERT_EQ(first.size(), 5u);
  capture_->Rewind(first[1].end, first[1].page_count);
  std::vector<CommitFrames> again = ReadAll();
  ASSERT_EQ(again.size(), 3u);
  EXPECT_TRUE(again[2].end.SamePlace(first[4].end));
  EXPECT_EQ(again[2].end.checksum[0], first[4].end.checksum[0]);
}

TEST_F(CaptureCommits, NeverGivesAChainValidCommitThatIsNotInTheWalIndex) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  ASSERT_EQ(ReadAll().size(), 1u);
  // A writer that died between its frames and the wal-index: the header as it was before the commit.
  Result<std::unique_ptr<sqlite::LiveDb>> writer = sqlite::LiveDb::Open({.path = db_});
  ASSERT_TRUE(writer.ok());
  sqlite::WalIndexHeader before;
  ASSERT_TRUE((*writer)->ReadHeader(before));
  App("INSERT INTO t(v) VALUES(2)");
  ASSERT_TRUE((*writer)->TryExclusive(sqlite::kLockWrite));
  (*writer)->WriteHeader(before);
  (*writer)->UnlockExclusive(sqlite::kLockWrite);
  EXPECT_EQ(ReadAll().size(), 0u) << "a phantom";
  App("UPDATE t SET v=9");
  EXPECT_EQ(ReadAll().size(), 1u);
}

// SQLite before 3.50 leaves salts and checksums of committed frames zero after a spill, ROLLBACK TO and a shorter
// commit.
TEST_F(CaptureCommits, TakesFramesWithoutChecksumOnTheWordOfTheWalIndex) {
  CreateDb(512);
  StartImage();
  App("PRAGMA cache_size=10");
  App("INSERT INTO t(v) SELECT randomblob(100) FROM (WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM x "
      "WHERE i<2000) "
      "SELECT i FROM x)");
  PublishAll();
  App("BEGIN; SAVEPOINT a; UPDATE t SET v=randomblob(100); UPDATE t SET v=randomblob(101) WHERE id>1000; ROLLBACK TO "
      "a; "
      "UPDATE t SET v=randomblob(100) WHERE id=5; COMMIT");
  App("INSERT INTO t VALUES(99999, x'00')");
  App("INSERT INTO t VALUES(99998, x'00')");
  PublishAll();
  EXPECT_EQ(image_->state().commits, 4u);
  EXPECT_EQ(image_->state().images, 1u);
  if (sqlite3_libversion_number() < 3046000) {
    EXPECT_GT(image_->capture().stats().unverified_frames, 0u) << "the case is not tested";
  }
  EXPECT_EQ(Compare(), "");
}

TEST_F(CaptureCommits, RefusesACommittedFrameThatRotted) {
  CreateDb();
  StartCapture();
  App("INSERT INTO t(v) VALUES(1)");
  Result<std::unique_ptr<sqlite::LiveDb>> vandal = sqlite::LiveDb::Open({.path = db_});
  ASSERT_TRUE(vandal.ok());
  std::byte byte{0x5a};
  ASSERT_TRUE((*vandal)->WriteWal({&byte, 1}, sqlite::FrameOffset(read_.frame + 1, 4096) + 500).ok());
  Result<std::optional<CommitFrames>> next = capture_->Next();
  ASSERT_FALSE(next.ok());
  EXPECT_EQ(next.code(), Errc::kCorrupt);
}

}  // namespace
}  // namespace runnel::publisher
