// Directed scripts: each is the smallest commit known to break a simpler algorithm.
#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/temp_dir.h"
#include "tests/unit/feed/harness.h"

namespace runnel::testing {
namespace {

std::string Numbers(int from, int to) {
  return "WITH RECURSIVE s(i) AS (SELECT " + std::to_string(from) + " UNION ALL SELECT i+1 FROM s WHERE i<" +
         std::to_string(to) + ") ";
}

class FeedTraps : public ::testing::Test {
 protected:
  void Open(int auto_vacuum = 0, feed::FeedOptions options = EveryTable(), bool drop_equal_pages = false) {
    DbSettings settings;
    settings.page_size = 512;
    settings.auto_vacuum = auto_vacuum;
    db_ = std::make_unique<CapturedDb>((dir_ / "t.db").string(), settings, random_);
    harness_ = std::make_unique<FeedHarness>(*db_, std::move(options), drop_equal_pages);
  }
  // What is wrong after this SQL, "" nothing.
  std::string Try(const std::string& sql) {
    std::string error = db_->Exec(sql);
    return error.empty() ? harness_->Step() : error;
  }
  // Inserts, updates, deletes.
  void Expect(const std::string& sql, uint64_t inserts, uint64_t updates, uint64_t deletes) {
    EXPECT_EQ(Try(sql), "") << sql;
    EXPECT_EQ(harness_->VerifyMap(), "") << sql;
    EXPECT_EQ(harness_->last_inserts, inserts) << sql;
    EXPECT_EQ(harness_->last_updates, updates) << sql;
    EXPECT_EQ(harness_->last_deletes, deletes) << sql;
  }

  TempDir dir_;
  Random random_{7};
  std::unique_ptr<CapturedDb> db_;
  std::unique_ptr<FeedHarness> harness_;
};

TEST_F(FeedTraps, FindsRowsOfPagesThatWereFreedWithoutBeingWritten) {
  Open();
  std::string insert = Numbers(1, 2000) + "INSERT INTO t SELECT i, hex(randomblob(20)) FROM s";
  Expect("CREATE TABLE t(a INTEGER PRIMARY KEY, b)", 0, 0, 0);
  Expect(insert, 2000, 0, 0);
  Expect("DELETE FROM t", 0, 0, 2000);
  Expect(insert, 2000, 0, 0);
  Expect("DELETE FROM t WHERE a BETWEEN 500 AND 1500", 0, 0, 1001);
  Expect("BEGIN; DELETE FROM t; INSERT INTO t VALUES(2007,'x'); COMMIT", 1, 0, 999);
  Expect("DROP TABLE t", 0, 0, 0);
}

TEST_F(FeedTraps, FindsValuesOverwrittenInTheirOverflowPagesAlone) {
  Open();
  Expect("CREATE TABLE t(a INTEGER PRIMARY KEY, b)", 0, 0, 0);
  Expect(Numbers(1, 300) + "INSERT INTO t SELECT i, zeroblob(3000) FROM s", 300, 0, 0);
  Expect("UPDATE t SET b=CAST(zeroblob(2999)||'x' AS BLOB) WHERE a=77", 0, 1, 0);
  Expect("CREATE TABLE w(k TEXT PRIMARY KEY, v) WITHOUT ROWID", 0, 0, 0);
  Expect(Numbers(1, 300) + "INSERT INTO w SELECT 'k'||i, zeroblob(3000) FROM s", 300, 0, 0);
  Expect("UPDATE w SET v=CAST(zeroblob(2999)||'x' AS BLOB)", 0, 300, 0);
}

constexpr const char* kSwap = "ALTER TABLE a RENAME TO z; ALTER TABLE b RENAME TO a; ALTER TABLE z RENAME TO b;";

// Both roots get a level more, so that all their children are new: only the names are left to pair by.
std::string SwapAndSplit() {
  std::string more = Numbers(301, 1200) + "INSERT INTO ";
  return "BEGIN; " + more + "a SELECT i, hex(randomblob(20)) FROM s; " + more +
         "b SELECT i, hex(randomblob(20)) FROM s; " + kSwap + " COMMIT";
}

std::string TwoTables() {
  std::string rows = Numbers(1, 300) + "INSERT INTO ";
  return "BEGIN; CREATE TABLE a(x INTEGER PRIMARY KEY, y); CREATE TABLE b(x INTEGER PRIMARY KEY, y); " + rows +
         "a SELECT i, hex(randomblob(20)) FROM s; " + rows + "b SELECT i, hex(randomblob(20)) FROM s; COMMIT";
}

TEST_F(FeedTraps, FollowsTablesThatSwapNames) {
  Open();
  Expect(TwoTables(), 600, 0, 0);
  Expect(std::string("BEGIN; ") + kSwap + " COMMIT", 0, 0, 0);
  EXPECT_EQ(Try(SwapAndSplit()), "");
}

TEST_F(FeedTraps, LosesRowsWithoutTheOriginCheck) {
  feed::FeedOptions options = EveryTable();
  options.shortcuts.no_origin_check = true;
  Open(0, options);
  Expect(TwoTables(), 600, 0, 0);
  EXPECT_NE(Try(SwapAndSplit()), "");
}

// A freed leaf keeps its bytes; when the same rows come back, the new leaf is equal to what lies there.
std::string DeleteAndBringBack(const std::function<std::string(const std::string&)>& run) {
  std::string insert = Numbers(1, 25) + "INSERT INTO t SELECT i, 'some text, for a leaf to be full soon '||i FROM s";
  std::vector<std::string> script = {
      "CREATE TABLE t(a INTEGER PRIMARY KEY, b)", "CREATE TABLE pad(x)", insert,
      "DROP TABLE pad"};  // its page carries the list of free pages, so that no leaf must
  for (int i = 0; i < 6; ++i) {
    script.push_back("DELETE FROM t");
    script.push_back(insert);
  }
  for (const std::string& sql : script) {
    std::string wrong = run(sql);
    if (!wrong.empty()) return wrong;
  }
  return "";
}

TEST_F(FeedTraps, CountsPagesOfTheCommitWhoseBytesAreEqual) {
  Open();
  EXPECT_EQ(DeleteAndBringBack([this](const std::string& sql) { return Try(sql); }), "");
}

TEST_F(FeedTraps, GoesWrongIfEqualPagesAreDropped) {
  Open(0, EveryTable(), true);
  EXPECT_NE(DeleteAndBringBack([this](const std::string& sql) { return Try(sql); }), "");
}

constexpr const char* kSwapKeys =
    "BEGIN; UPDATE t SET k='x' WHERE k='a'; UPDATE t SET k='a' WHERE k='b'; UPDATE t SET k='b' WHERE k='x'; COMMIT";

TEST_F(FeedTraps, DeletesBeforeItInsertsWhereKeysAreSwapped) {
  Open();
  Expect("CREATE TABLE t(id, k TEXT PRIMARY KEY)", 0, 0, 0);
  Expect("INSERT INTO t VALUES(1,'a'),(2,'b')", 2, 0, 0);
  Expect(kSwapKeys, 2, 0, 2);
}

TEST_F(FeedTraps, InsertsAKeyThatIsThereIfDeletesDoNotComeFirst) {
  feed::FeedOptions options = EveryTable();
  options.shortcuts.no_order = true;
  Open(0, options);
  Expect("CREATE TABLE t(id, k TEXT PRIMARY KEY)", 0, 0, 0);
  Expect("INSERT INTO t VALUES(1,'a'),(2,'b')", 2, 0, 0);
  EXPECT_NE(Try(kSwapKeys), "");
}

TEST_F(FeedTraps, FollowsRootsMovedByAutoVacuum) {
  Open(1);
  std::string rows = Numbers(1, 900) + "INSERT INTO ";
  Expect("BEGIN; CREATE TABLE p(x INTEGER PRIMARY KEY, y); CREATE TABLE q(x INTEGER PRIMARY KEY, y); COMMIT", 0, 0, 0);
  Expect(rows + "q SELECT i, hex(randomblob(20)) FROM s", 900, 0, 0);
  Expect(rows + "p SELECT i, hex(randomblob(20)) FROM s", 900, 0, 0);
  Expect("DROP TABLE p", 0, 0, 0);
  Expect("DELETE FROM q WHERE x>800", 0, 0, 100);
}

TEST_F(FeedTraps, SaysNothingOnVacuumAndReindex) {
  Open();
  Expect("CREATE TABLE h(y)", 0, 0, 0);  // VACUUM gives its rows new rowids
  Expect(Numbers(1, 300) + "INSERT INTO h SELECT i FROM s", 300, 0, 0);
  Expect("CREATE TABLE k(a TEXT PRIMARY KEY, b)", 0, 0, 0);
  Expect(Numbers(1, 300) + "INSERT INTO k SELECT 'k'||i, i FROM s", 300, 0, 0);
  Expect("DELETE FROM h WHERE y%2", 0, 0, 150);
  Expect("VACUUM", 0, 0, 0);
  Expect("DELETE FROM k WHERE b%3=0", 0, 0, 100);
  Expect("VACUUM", 0, 0, 0);
  Expect("REINDEX", 0, 0, 0);
  EXPECT_NE(db_->Number("SELECT max(rowid) FROM h"), 300);  // it did renumber
}

TEST_F(FeedTraps, SaysNothingOnVacuumOfATableTooLargeForNetting) {
  feed::FeedOptions options = EveryTable();
  options.limits.netted_rows_max = 20;
  Open(0, options);
  Expect("CREATE TABLE h(y)", 0, 0, 0);
  Expect(Numbers(1, 300) + "INSERT INTO h SELECT i FROM s", 300, 0, 0);
  Expect("DELETE FROM h WHERE y%2", 0, 0, 150);
  Expect("VACUUM", 0, 0, 0);
  Expect("UPDATE h SET y=y+1000", 0, 150, 0);
}

TEST_F(FeedTraps, ReportsRowsOfHiddenRowidsByContent) {
  Open();
  Expect("CREATE TABLE h(y)", 0, 0, 0);
  Expect("INSERT INTO h VALUES(1),(2),(2),(3)", 4, 0, 0);
  Expect("UPDATE h SET rowid=rowid+100", 0, 0, 0);
  Expect("UPDATE h SET y=4-y", 0, 0, 0);  // 3, 2, 2, 1: the same rows
  Expect("UPDATE h SET y=9 WHERE y=1", 0, 1, 0);
}

TEST_F(FeedTraps, FollowsTheSchema) {
  Open();
  Expect("CREATE TABLE t(a INTEGER PRIMARY KEY, b, c TEXT)", 0, 0, 0);
  Expect(Numbers(1, 500) + "INSERT INTO t SELECT i, i, 'x'||i FROM s", 500, 0, 0);
  Expect("ALTER TABLE t ADD COLUMN d REAL DEFAULT 5", 0, 0, 0);
  Expect("UPDATE t SET d=d WHERE a<50", 0, 0, 0);
  Expect("ALTER TABLE t RENAME COLUMN b TO bb", 0, 0, 0);
  Expect("ALTER TABLE t DROP COLUMN bb", 0, 0, 0);
  Expect("ALTER TABLE t ADD COLUMN g AS (a+1)", 0, 500, 0);
  Expect("ALTER TABLE t DROP COLUMN g", 0, 0, 0);
  Expect("BEGIN; ALTER TABLE t DROP COLUMN d; ALTER TABLE t ADD COLUMN d REAL DEFAULT 6; COMMIT", 0, 500, 0);
  Expect(
      "BEGIN; CREATE TABLE n(a INTEGER PRIMARY KEY, c TEXT, d REAL DEFAULT 6); INSERT INTO n SELECT * FROM t; DROP "
      "TABLE t;"
      "ALTER TABLE n RENAME TO t; COMMIT",
      0, 0, 0);
  EXPECT_EQ(
      Try("BEGIN; DROP TABLE t; CREATE TABLE t(a INTEGER PRIMARY KEY, c TEXT); INSERT INTO t VALUES(1,'x1'); COMMIT"),
      "");
  EXPECT_EQ(Try("ANALYZE"), "");
}

TEST_F(FeedTraps, RefusesATableWhoseVirtualColumnsNeedItsApplication) {
  Open();
  sqlite3_create_function(
      db_->handle(), "app", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr,
      [](sqlite3_context* context, int, sqlite3_value** argv) { sqlite3_result_value(context, argv[0]); }, nullptr,
      nullptr);
  Expect("CREATE TABLE t(a INTEGER PRIMARY KEY, g AS (app(a)))", 0, 0, 0);
  std::string wrong = Try("INSERT INTO t VALUES(1)");
  EXPECT_NE(wrong.find("table t: its virtual columns cannot be computed here"), std::string::npos) << wrong;
  EXPECT_NE(wrong.find("txid 0000000000000002"), std::string::npos) << wrong;
}

TEST_F(FeedTraps, LeavesOutWhatNoApplicationWroteUnlessAsked) {
  Open(0, feed::FeedOptions());
  (void)db_->Exec("CREATE VIRTUAL TABLE f USING fts5(a); CREATE TABLE t(a INTEGER PRIMARY KEY AUTOINCREMENT)");
  (void)db_->Exec("INSERT INTO f VALUES('x'); INSERT INTO t VALUES(7)");
  (void)harness_->Step();
  EXPECT_EQ(harness_->last_inserts, 1u);
  EXPECT_EQ(harness_->feed().schema().FindByName("f_content")->kind, feed::TableDef::Kind::kShadow);
  EXPECT_EQ(harness_->feed().schema().FindByName("sqlite_sequence")->kind, feed::TableDef::Kind::kInternal);
}

}  // namespace
}  // namespace runnel::testing
