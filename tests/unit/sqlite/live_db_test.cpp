#include "ltx/sqlite/live/live_db.h"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdlib>
#include <filesystem>

namespace runnel::sqlite {
namespace {

class LiveDbTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = (std::filesystem::temp_directory_path() / "live_db_XXXXXX").string();
    dir_ = mkdtemp(pattern.data());
    path_ = dir_ + "/app.db";
  }
  void TearDown() override {
    sqlite3_close(app_);
    std::filesystem::remove_all(dir_);
  }
  void App(const char* sql) {
    if (app_ == nullptr) {
      ASSERT_EQ(sqlite3_open(path_.c_str(), &app_), SQLITE_OK);
    }
    ASSERT_EQ(sqlite3_exec(app_, sql, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(app_);
  }
  std::string dir_;
  std::string path_;
  sqlite3* app_ = nullptr;
};

TEST_F(LiveDbTest, ReadsTheCommittedHeaderOfTheApplication) {
  App("PRAGMA page_size=1024; PRAGMA journal_mode=WAL; CREATE TABLE t(a); INSERT INTO t VALUES(1);");
  auto live = LiveDb::Open({.path = path_});
  ASSERT_TRUE(live.ok()) << live.error().message();
  EXPECT_EQ((*live)->page_size(), 1024u);
  WalIndexHeader before;
  ASSERT_TRUE((*live)->ReadHeader(before));
  EXPECT_GT(before.max_frame, 0u);
  App("INSERT INTO t VALUES(2)");
  WalIndexHeader after;
  ASSERT_TRUE((*live)->ReadHeader(after));
  EXPECT_GT(after.max_frame, before.max_frame);
  EXPECT_TRUE(SameSalt(after.salt, before.salt));
}

TEST_F(LiveDbTest, HoldsTheWalWhenTheApplicationClosesLast) {
  App("PRAGMA journal_mode=WAL; CREATE TABLE t(a);");
  auto live = LiveDb::Open({.path = path_});
  ASSERT_TRUE(live.ok()) << live.error().message();
  sqlite3_close(app_);
  app_ = nullptr;
  EXPECT_TRUE(std::filesystem::exists(path_ + "-wal"));
  EXPECT_GT(*(*live)->WalBytes(), 0u);
}

TEST_F(LiveDbTest, WriteLockKeepsStockWritersOut) {
  App("PRAGMA journal_mode=WAL; CREATE TABLE t(a);");
  auto live = LiveDb::Open({.path = path_});
  ASSERT_TRUE(live.ok()) << live.error().message();
  ASSERT_TRUE((*live)->TryExclusive(kLockWrite));
  EXPECT_EQ(sqlite3_exec(app_, "INSERT INTO t VALUES(1)", nullptr, nullptr, nullptr), SQLITE_BUSY);
  (*live)->UnlockExclusive(kLockWrite);
  App("INSERT INTO t VALUES(1)");
}

TEST_F(LiveDbTest, RefusesWhatIsNotAWalDatabaseWithOneSentence) {
  EXPECT_EQ(LiveDb::Open({.path = path_}).code(), Errc::kNotFound);
  App("CREATE TABLE t(a)");
  auto journal = LiveDb::Open({.path = path_});
  ASSERT_FALSE(journal.ok());
  EXPECT_EQ(journal.code(), Errc::kRefused);
  EXPECT_NE(journal.error().message().find("PRAGMA journal_mode=WAL"), std::string::npos);
  std::string text = dir_ + "/text";
  FILE* file = std::fopen(text.c_str(), "w");
  std::fputs(std::string(200, 'x').c_str(), file);
  std::fclose(file);
  EXPECT_EQ(LiveDb::Open({.path = text}).code(), Errc::kRefused);
}

TEST_F(LiveDbTest, OpeningDropsNoLockOfAnotherConnectionInThisProcess) {
  App("PRAGMA journal_mode=WAL; CREATE TABLE t(a); BEGIN; SELECT * FROM t;");
  ASSERT_TRUE(LiveDb::Open({.path = path_}).ok());  // and closed again
  // Only the SHARED lock of app_ keeps another process from leaving WAL mode.
  std::string command = "sqlite3 '" + path_ + "' 'PRAGMA journal_mode=DELETE' >/dev/null 2>&1";
  (void)!std::system(command.c_str());
  App("COMMIT; INSERT INTO t VALUES(1)");
  EXPECT_TRUE(std::filesystem::exists(path_ + "-wal"));
}

TEST_F(LiveDbTest, SaysWhenAnExclusiveHolderKeepsItOut) {
  App("PRAGMA journal_mode=WAL; CREATE TABLE t(a);");
  sqlite3_close(app_);
  app_ = nullptr;
  App("PRAGMA locking_mode=EXCLUSIVE; INSERT INTO t VALUES(1);");
  auto live = LiveDb::Open({.path = path_, .wait = std::chrono::milliseconds(50)});
  ASSERT_FALSE(live.ok());
  EXPECT_EQ(live.code(), Errc::kUnavailable);
}

}  // namespace
}  // namespace runnel::sqlite
