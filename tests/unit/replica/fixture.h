// A source database, a replica of it, and stock clients of the replica.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "subscriber/replica/image.h"
#include "subscriber/replica/replica.h"
#include "tests/support/commit_source.h"
#include "tests/support/temp_dir.h"

namespace runnel::replica {

#define ASSERT_OK(expr)                                         \
  do {                                                          \
    auto ok_status = (expr);                                    \
    ASSERT_TRUE(ok_status.ok()) << ok_status.error().message(); \
  } while (false)

inline constexpr LineageBytes kLineage = {1, 2, 3};

// A stock connection: one per object.
class Client {
 public:
  explicit Client(const std::string& path, int flags = SQLITE_OPEN_READWRITE) {
    EXPECT_EQ(sqlite3_open_v2(path.c_str(), &db_, flags, nullptr), SQLITE_OK);
    testing::AddTestFunctions(db_);
  }
  ~Client() { sqlite3_close(db_); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  int Exec(const std::string& sql) { return sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr); }
  // The first row, columns joined by "|"; the error text on failure.
  std::string Row(const std::string& sql) {
    sqlite3_stmt* statement = nullptr;
    std::string out;
    int rc = sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    for (int i = 0; rc == SQLITE_ROW && i < sqlite3_column_count(statement); ++i) {
      const unsigned char* text = sqlite3_column_text(statement, i);
      out += std::string(i > 0 ? "|" : "") + (text != nullptr ? reinterpret_cast<const char*>(text) : "NULL");
    }
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) out = sqlite3_errmsg(db_);
    sqlite3_finalize(statement);
    return out;
  }

 private:
  sqlite3* db_ = nullptr;
};

class ReplicaTest : public ::testing::Test {
 protected:
  void MakeSource(uint32_t page_size = 4096,
                  const std::string& setup = "CREATE TABLE t(a, b); INSERT INTO t VALUES(1, 'one');") {
    source_ = std::make_unique<testing::CommitSource>(dir_ / "source.db", page_size, setup);
  }
  Status Bootstrap(bool replace = false) {
    TRY_ASSIGN(std::unique_ptr<ReplicaImage> image,
               ReplicaImage::Create({.path = path(), .page_size = source_->page_size(), .replace = replace}));
    testing::SourceCommit all = source_->Snapshot();
    for (const testing::SourcePage& page : all.pages) TRY(image->AddPage(page.pgno, page.bytes));
    return image->Finish({.lineage = kLineage, .position = all.post, .page_count = all.page_count, .log_sequence = 7});
  }
  Status Attach() {
    options_.path = path();
    TRY_ASSIGN(replica_, Replica::Attach(options_));
    return Ok();
  }
  void StartReplica(uint32_t page_size = 4096) {
    MakeSource(page_size);
    ASSERT_OK(Bootstrap());
    ASSERT_OK(Attach());
  }
  Status Apply(const testing::SourceCommit& commit) {
    TRY(replica_->Begin(source_->page_size()));
    for (const testing::SourcePage& page : commit.pages) TRY(replica_->AddPage(page.pgno, page.bytes));
    return replica_->Commit(
        {.post = commit.post, .page_count = commit.page_count, .log_sequence = commit.post.txid.raw()});
  }
  // Runs SQL on the source and applies the commit.
  Status Follow(const std::string& sql) { return Apply(source_->Run(sql)); }
  void Reattach() {
    replica_.reset();
    ASSERT_OK(Attach());
  }
  // As if nothing had happened for an hour: checkpoints what readers allow.
  Status MaintainLater() {
    TRY(replica_->Maintain(std::chrono::steady_clock::now() + later_));
    later_ += std::chrono::hours(1);
    return replica_->Maintain(std::chrono::steady_clock::now() + later_);
  }
  // In another process: a descriptor closed in this one would drop SQLite's locks.
  static void Shell(const std::string& command) { ASSERT_EQ(std::system(command.c_str()), 0) << command; }
  void DamageFile(uint32_t pgno) {
    Shell("printf 'damage' | dd of='" + path() + "' bs=1 conv=notrunc status=none seek=" +
          std::to_string(uint64_t{pgno - 1} * source_->page_size().raw() + 200));
  }

  // Reading -wal here is harmless: SQLite keeps no locks on it.
  void DamageNewestFrame(uint32_t pgno) {
    const std::string wal = path() + "-wal";
    std::string bytes;
    std::ifstream file(wal, std::ios::binary);
    bytes.assign(std::istreambuf_iterator<char>(file), {});
    Bytes page = source_->page(Pgno(pgno));
    size_t at = bytes.rfind(AsText(page));
    ASSERT_NE(at, std::string::npos);
    Shell("printf 'damage' | dd of='" + wal + "' bs=1 conv=notrunc status=none seek=" + std::to_string(at + 200));
  }
  void DamagePosition() {
    std::filesystem::resize_file(side("position"), 0);
    std::filesystem::resize_file(side("position"), 4096);
  }

  // Byte for byte, through the replica's own eyes.
  void ExpectSameImage() {
    ASSERT_EQ(replica_->state().page_count, source_->page_count());
    EXPECT_EQ(ToString(replica_->state().at), ToString(source_->position()));
    EXPECT_TRUE(replica_->state().exact) << replica_->state().note;
    std::vector<std::byte> page(source_->page_size().raw());
    for (uint32_t pgno = 1; pgno <= source_->page_count(); ++pgno) {
      if (Pgno(pgno) == LockPage(source_->page_size())) continue;
      ASSERT_OK(replica_->ReadPage(Pgno(pgno), page));
      ASSERT_TRUE(page == source_->page(Pgno(pgno))) << "page " << pgno;
    }
  }
  // As the file on disk, once everything is checkpointed and the replica is closed.
  void ExpectSameFile() {
    std::string bytes;
    FILE* file = std::fopen(path().c_str(), "rb");
    std::vector<char> buffer(1 << 16);
    for (size_t got; (got = std::fread(buffer.data(), 1, buffer.size(), file)) > 0;) bytes.append(buffer.data(), got);
    std::fclose(file);
    ASSERT_EQ(bytes.size(), size_t{source_->page_count()} * source_->page_size().raw());
    for (uint32_t pgno = 1; pgno <= source_->page_count(); ++pgno) {
      size_t size = source_->page_size().raw();
      ASSERT_EQ(std::memcmp(bytes.data() + (pgno - 1) * size, source_->page(Pgno(pgno)).data(), size), 0) << pgno;
    }
  }

  std::string path() const { return dir_ / "replica.db"; }
  std::string side(const std::string& name) const { return path() + "-runnel/" + name; }

  testing::TempDir dir_;
  ReplicaOptions options_;
  std::unique_ptr<testing::CommitSource> source_;
  std::unique_ptr<Replica> replica_;
  std::chrono::hours later_{0};
};

}  // namespace runnel::replica
