#include "ltx/format/page_table.h"

#include <gtest/gtest.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <vector>

#include "tests/support/temp_dir.h"

namespace runnel::ltx {
namespace {

using testing::TempDir;

Checksum Sum(uint64_t raw) { return Checksum(Checksum::kFlag | raw); }

std::unique_ptr<PageTable> Made(const std::string& path, uint32_t page_size = 4096) {
  Result<std::unique_ptr<PageTable>> table = PageTable::Create(path, PageSize(page_size));
  EXPECT_TRUE(table.ok()) << table.error().message();
  return std::move(*table);
}

std::unique_ptr<PageTable> Opened(const std::string& path) {
  Result<std::unique_ptr<PageTable>> table = PageTable::Open(path);
  EXPECT_TRUE(table.ok()) << table.error().message();
  return std::move(*table);
}

std::string Text(const PageEntry& entry) { return std::to_string(entry.txid.raw()) + " " + ToString(entry.checksum); }

class PageTableTest : public ::testing::Test {
 protected:
  TempDir dir_;
  const std::string path_ = (dir_ / "pages").string();
};

TEST_F(PageTableTest, IsEmptyWhenNew) {
  auto table = Made(path_, 512);
  EXPECT_EQ(table->page_size(), PageSize(512));
  EXPECT_EQ(table->page_count(), 0u);
  EXPECT_EQ(table->position(), Position());
  EXPECT_EQ(table->Sum(), Checksum::Empty());
  EXPECT_EQ(Text(table->Get(Pgno(1))), "0 0000000000000000");
  EXPECT_EQ(Text(table->Get(Pgno(0))), "0 0000000000000000");
  EXPECT_EQ(Text(table->Get(Pgno(kPgnoMax))), "0 0000000000000000");
  EXPECT_EQ(std::string(AsText(table->owner())), std::string(PageTable::kOwnerBytes, '\0'));
}

TEST_F(PageTableTest, KeepsEverythingWhenOpenedAgain) {
  {
    auto table = Made(path_, 65536);
    ASSERT_TRUE(table->Reserve(Pgno(20000)).ok());
    table->Set(Pgno(1), Sum(5), Txid(7));
    table->Set(Pgno(2), Sum(6), Txid(8));
    table->Set(Pgno(20000), Sum(9), Txid(8));
    table->SetPosition({Txid(8), Sum(5 ^ 6 ^ 9)}, 20000);
    std::memset(table->owner().data(), 'o', PageTable::kOwnerBytes);
    ASSERT_TRUE(table->Sync().ok());
    ASSERT_TRUE(table->Sync().ok());
  }
  auto table = Opened(path_);
  EXPECT_EQ(table->page_size(), PageSize(65536));
  EXPECT_EQ(table->page_count(), 20000u);
  EXPECT_EQ(table->position(), (Position{Txid(8), Sum(5 ^ 6 ^ 9)}));
  EXPECT_EQ(Text(table->Get(Pgno(1))), "7 8000000000000005");
  EXPECT_EQ(Text(table->Get(Pgno(20000))), "8 8000000000000009");
  EXPECT_TRUE(table->Verify());
  EXPECT_EQ(std::string(AsText(table->owner())), std::string(PageTable::kOwnerBytes, 'o'));
}

TEST_F(PageTableTest, CreateReplacesWhatIsThere) {
  {
    auto table = Made(path_);
    ASSERT_TRUE(table->Reserve(Pgno(1)).ok());
    table->Set(Pgno(1), Sum(1), Txid(1));
    table->SetPosition({Txid(1), Sum(1)}, 1);
  }
  Made(path_, 1024);
  auto table = Opened(path_);
  EXPECT_EQ(table->page_size(), PageSize(1024));
  EXPECT_EQ(table->page_count(), 0u);
  EXPECT_EQ(Text(table->Get(Pgno(1))), "0 0000000000000000");
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir_.path()), {}), 1) << "no draft is left behind";
}

TEST_F(PageTableTest, SumsPagesUpToThePageCountOnly) {
  auto table = Made(path_);
  ASSERT_TRUE(table->Reserve(Pgno(40)).ok());
  uint64_t sum = 0;
  for (uint32_t pgno = 1; pgno <= 40; ++pgno) {
    table->Set(Pgno(pgno), Sum(uint64_t{1} << pgno), Txid(1));
    sum |= uint64_t{1} << pgno;
  }
  for (uint32_t count = 0; count <= 40; ++count) {
    table->SetPosition({Txid(1), Checksum()}, count);
    EXPECT_EQ(table->Sum(), Sum(sum & ((uint64_t{2} << count) - 2))) << count;
    EXPECT_FALSE(table->Verify());
  }
}

TEST_F(PageTableTest, KeepsTheTxidThatCutAPage) {
  auto table = Made(path_);
  ASSERT_TRUE(table->Reserve(Pgno(6)).ok());
  for (uint32_t pgno = 1; pgno <= 6; ++pgno) table->Set(Pgno(pgno), Sum(pgno), Txid(1));
  table->SetPosition({Txid(1), table->Sum()}, 6);
  table->Truncate(4, Txid(2));
  table->SetPosition({Txid(2), Sum(1 ^ 2 ^ 3 ^ 4)}, 4);
  EXPECT_TRUE(table->Verify());
  table->Truncate(3, Txid(3));
  EXPECT_EQ(Text(table->Get(Pgno(3))), "1 8000000000000003");
  EXPECT_EQ(Text(table->Get(Pgno(4))), "3 0000000000000000");
  EXPECT_EQ(Text(table->Get(Pgno(5))), "2 0000000000000000");
  EXPECT_EQ(Text(table->Get(Pgno(6))), "2 0000000000000000");
  table->Set(Pgno(5), Sum(50), Txid(4));
  table->Truncate(0, Txid(5));
  EXPECT_EQ(Text(table->Get(Pgno(4))), "3 0000000000000000") << "gone since then";
  EXPECT_EQ(Text(table->Get(Pgno(5))), "5 0000000000000000");
  EXPECT_EQ(Text(table->Get(Pgno(6))), "2 0000000000000000");
  EXPECT_EQ(Text(table->Get(Pgno(1))), "5 0000000000000000");
}

TEST_F(PageTableTest, CutsPagesThatAnInterruptedCommitAddedAlsoAfterReopening) {
  {
    auto table = Made(path_);
    ASSERT_TRUE(table->Reserve(Pgno(9000)).ok());
    table->Set(Pgno(1), Sum(1), Txid(1));
    table->SetPosition({Txid(1), Sum(1)}, 1);
    table->Set(Pgno(9000), Sum(2), Txid(2));  // and killed
  }
  auto table = Opened(path_);
  EXPECT_TRUE(table->Verify()) << "pages beyond the count do not matter";
  table->Truncate(1, Txid(3));
  EXPECT_EQ(Text(table->Get(Pgno(9000))), "3 0000000000000000");
}

TEST_F(PageTableTest, TheLockPageHasNoEntry) {
  auto table = Made(path_, 65536);
  const Pgno lock_page = LockPage(PageSize(65536));
  ASSERT_TRUE(table->Reserve(lock_page.Next()).ok());
  table->Set(lock_page, Sum(1), Txid(1));
  table->Set(lock_page.Next(), Sum(2), Txid(1));
  table->SetPosition({Txid(1), Sum(2)}, lock_page.raw() + 1);
  EXPECT_EQ(Text(table->Get(lock_page)), "0 0000000000000000");
  EXPECT_TRUE(table->Verify());
}

TEST_F(PageTableTest, GrowsWithoutLosingEntriesOrTheOwner) {
  auto table = Made(path_);
  MutableBytes owner = table->owner();
  std::map<uint32_t, uint64_t> model;
  std::mt19937 random(3);
  for (uint32_t limit = 1; limit < 3000000; limit = limit * 3 + 1) {
    ASSERT_TRUE(table->Reserve(Pgno(limit)).ok());
    for (int i = 0; i < 20; ++i) {
      const uint32_t pgno = 1 + static_cast<uint32_t>(random()) % limit;
      model[pgno] = random();
      table->Set(Pgno(pgno), Sum(model[pgno]), Txid(limit));
    }
  }
  uint64_t sum = 0;
  for (const auto& [pgno, raw] : model) {
    EXPECT_EQ(table->Get(Pgno(pgno)).checksum, Sum(raw));
    if (Pgno(pgno) != LockPage(PageSize(4096))) sum ^= raw;
  }
  table->SetPosition({Txid(1), Sum(sum)}, model.rbegin()->first);
  owner[0] = std::byte{'o'};
  EXPECT_EQ(table->owner().data(), owner.data());
  table.reset();
  EXPECT_TRUE(Opened(path_)->Verify());
}

// In a child, because the limit is the process's.
TEST_F(PageTableTest, ReportsWhatCannotBeAllocatedAndStaysUsable) {
  const pid_t child = ::fork();
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    auto table = Made(path_);
    bool good = table->Reserve(Pgno(4000)).ok();
    rlimit limit{1 << 20, 1 << 20};
    good = good && ::setrlimit(RLIMIT_FSIZE, &limit) == 0;
    good = good && !table->Reserve(Pgno(10000000)).ok();
    table->Set(Pgno(4000), Sum(4), Txid(1));
    table->SetPosition({Txid(1), Sum(4)}, 4000);
    good = good && table->Verify() && table->Get(Pgno(10000000)).txid == Txid();
    good = good && table->Reserve(Pgno(10000)).ok();
    ::_exit(good ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << status;
  EXPECT_TRUE(Opened(path_)->Verify());
  EXPECT_LE(std::filesystem::file_size(path_), 1u << 20);
}

TEST_F(PageTableTest, SaysWhenThereIsNone) {
  EXPECT_EQ(PageTable::Open(path_).code(), Errc::kNotFound);
  EXPECT_EQ(PageTable::Open(dir_.path().string()).code(), Errc::kIo);
  EXPECT_EQ(PageTable::Create((dir_ / "absent/pages").string(), PageSize(512)).code(), Errc::kNotFound);
}

TEST_F(PageTableTest, RefusesDamagedHeads) {
  {
    auto table = Made(path_);
    ASSERT_TRUE(table->Reserve(Pgno(2)).ok());
    table->Set(Pgno(2), Sum(1), Txid(3));
    table->SetPosition({Txid(3), Sum(1)}, 2);  // slot 1 is active now
  }
  std::string good;
  {
    std::ifstream file(path_, std::ios::binary);
    good.assign(std::istreambuf_iterator<char>(file), {});
  }
  auto code_of = [&](const std::string& bytes) {
    std::ofstream(path_, std::ios::binary | std::ios::trunc)
        .write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    Result<std::unique_ptr<PageTable>> table = PageTable::Open(path_);
    return table.ok() ? std::optional<Errc>() : table.code();
  };
  EXPECT_EQ(code_of(good), std::nullopt);
  const std::vector<std::pair<size_t, size_t>> guarded = {{0, 16}, {24, 16}, {192, 32}};
  for (auto [begin, size] : guarded) {
    for (size_t bit = 8 * begin; bit < 8 * (begin + size); ++bit) {
      if (bit == 8 * 32) continue;  // selects the other slot, a position that was valid: Verify() tells
      std::string bad = good;
      bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
      EXPECT_EQ(code_of(bad), Errc::kCorrupt) << "byte " << bit / 8;
    }
  }
  for (size_t length : {0, 1, 4095, 4096, 4111}) EXPECT_EQ(code_of(good.substr(0, length)), Errc::kCorrupt) << length;
  EXPECT_EQ(code_of(good.substr(0, 4096 + 16)), Errc::kCorrupt) << "fewer entries than pages";
  EXPECT_EQ(code_of(good.substr(0, 4096 + 32)), std::nullopt);
}

// One commit of the model, as a publisher writes it; `steps` ends it early, as a kill would. Returns whether it got
// through.
bool Apply(PageTable& table, uint64_t txid, uint64_t steps) {
  std::mt19937_64 random(txid);
  const uint32_t old_count = table.page_count();
  const uint32_t count = 1 + static_cast<uint32_t>(random() % 60);
  EXPECT_TRUE(table.Reserve(Pgno(count)).ok());
  std::map<uint32_t, uint64_t> changes;
  for (uint32_t pgno = old_count + 1; pgno <= count; ++pgno) changes[pgno] = random() >> 1;
  for (int i = 0; i < 5; ++i) changes[1 + static_cast<uint32_t>(random() % count)] = random() >> 1;
  for (const auto& [pgno, raw] : changes) {
    if (steps-- == 0) return false;
    table.Set(Pgno(pgno), Sum(raw), Txid(txid));
  }
  if (steps-- == 0) return false;
  table.Truncate(count, Txid(txid));
  if (steps-- == 0) return false;
  Checksum sum = Checksum::Empty();
  for (uint32_t pgno = 1; pgno <= count; ++pgno) sum = sum.Toggle(table.Get(Pgno(pgno)).checksum);
  table.SetPosition({Txid(txid), sum}, count);
  return true;
}

TEST_F(PageTableTest, ACommitCutAnywhereCanBeAppliedAgain) {
  const std::string smooth = (dir_ / "smooth").string();
  auto expected = Made(smooth);
  for (uint64_t txid = 1; txid <= 12; ++txid) ASSERT_TRUE(Apply(*expected, txid, ~uint64_t{0}));
  for (uint64_t steps = 0; steps < 70; ++steps) {
    Made(path_);
    for (uint64_t txid = 1; txid <= 12; ++txid) {
      Apply(*Opened(path_), txid, steps);
      auto table = Opened(path_);
      ASSERT_TRUE(table->position().txid == Txid(txid) || table->position().txid == Txid(txid - 1));
      const bool done = table->position().txid == Txid(txid) || Apply(*table, txid, ~uint64_t{0});
      ASSERT_TRUE(done);
      ASSERT_TRUE(table->Verify());
    }
    auto table = Opened(path_);
    ASSERT_EQ(table->position(), expected->position());
    for (uint32_t pgno = 1; pgno <= 60; ++pgno)
      ASSERT_EQ(Text(table->Get(Pgno(pgno))), Text(expected->Get(Pgno(pgno))));
  }
}

// The commit runs in a child, one machine instruction at a time, and what a kill would leave is looked at after each.
TEST_F(PageTableTest, HoldsItsInvariantsAfterEachInstruction) {
  auto table = Made(path_);
  ASSERT_TRUE(table->Reserve(Pgno(6)).ok());
  for (uint32_t pgno = 1; pgno <= 5; ++pgno) table->Set(Pgno(pgno), Sum(pgno), Txid(1));
  const Position before{Txid(1), Sum(1 ^ 2 ^ 3 ^ 4 ^ 5)};
  const Position after{Txid(2), Sum(1 ^ 20 ^ 3)};
  table->SetPosition(before, 5);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::ptrace(PTRACE_TRACEME, 0, nullptr, nullptr) != 0) ::_exit(77);
    ::raise(SIGSTOP);
    table->Set(Pgno(2), Sum(20), Txid(2));
    table->Truncate(3, Txid(2));
    table->SetPosition(after, 3);
    ::_exit(0);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  if (WIFEXITED(status)) GTEST_SKIP() << "tracing is forbidden here";
  int changes = 0;
  std::string last;
  while (WIFSTOPPED(status)) {
    const Position position = table->position();
    ASSERT_TRUE(position == before || position == after) << ToString(position);
    ASSERT_EQ(table->page_count(), position == before ? 5u : 3u) << "I4";
    ASSERT_TRUE(position == before || table->Verify()) << "I1";
    std::string all = ToString(position);
    for (uint32_t pgno = 1; pgno <= 5; ++pgno) {
      const PageEntry entry = table->Get(Pgno(pgno));
      ASSERT_TRUE(entry.checksum == Sum(pgno) || entry.txid == Txid(2)) << "I2, page " << pgno;
      all += " " + Text(entry);
    }
    changes += all != last;
    last = all;
    ASSERT_EQ(::ptrace(PTRACE_SINGLESTEP, child, nullptr, nullptr), 0);
    ASSERT_EQ(::waitpid(child, &status, 0), child);
  }
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0);
  EXPECT_EQ(changes, 8) << "as before, six stores to entries, the position";
  EXPECT_EQ(table->position(), after);
}

TEST_F(PageTableTest, SurvivesKillsAtAnyMoment) {
  Made(path_);
  auto expected = Made((dir_ / "expected").string());
  std::mt19937 random(11);
  for (int round = 0; round < 60; ++round) {
    int pipe_ends[2];
    ASSERT_EQ(::pipe(pipe_ends), 0);
    const pid_t child = ::fork();
    if (child == 0) {
      auto table = Opened(path_);
      for (uint64_t txid = table->position().txid.raw() + 1;; ++txid) {
        if (!Apply(*table, txid, ~uint64_t{0}) || ::write(pipe_ends[1], "c", 1) != 1) ::_exit(1);
      }
    }
    ::close(pipe_ends[1]);
    char byte;
    const uint32_t commits = 1 + random() % 200;
    for (uint32_t i = 0; i < commits; ++i) ASSERT_EQ(::read(pipe_ends[0], &byte, 1), 1);
    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    ::close(pipe_ends[0]);
    auto table = Opened(path_);
    const Position before = table->position();
    ASSERT_GE(before.txid.raw(), commits);
    for (uint64_t txid = expected->position().txid.raw() + 1; txid <= before.txid.raw(); ++txid) {
      ASSERT_TRUE(Apply(*expected, txid, ~uint64_t{0}));
    }
    ASSERT_EQ(before, expected->position());
    for (uint32_t pgno = 1; pgno <= 60; ++pgno) {
      if (table->Get(Pgno(pgno)).checksum == expected->Get(Pgno(pgno)).checksum) continue;
      ASSERT_EQ(table->Get(Pgno(pgno)).txid, before.txid.Next()) << "I2, page " << pgno;
    }
    ASSERT_TRUE(Apply(*table, before.txid.raw() + 1, ~uint64_t{0}));
    ASSERT_TRUE(table->Verify());
  }
}

}  // namespace
}  // namespace runnel::ltx
