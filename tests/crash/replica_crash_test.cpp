// Kills the applier at every named point and at random ones, while stock readers in other processes check each snapshot
// they see; afterwards whoever comes first (a reader or the next applier) must find one exact commit, and the end must
// be byte-identical.
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <fstream>
#include <iostream>
#include <iterator>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "subscriber/replica/crash_points.h"
#include "subscriber/replica/replica.h"
#include "tests/support/child_process.h"
#include "tests/support/commit_source.h"
#include "tests/support/temp_dir.h"

namespace runnel::testing {
namespace {

using std::chrono::milliseconds;

constexpr int kKilled = 128 + SIGKILL;
constexpr milliseconds kDeadline{60000};

std::string Read(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

long Number(const std::string& json, const std::string& key) {
  size_t at = json.rfind("\"" + key + "\": ");
  return at == std::string::npos ? -1 : std::atol(json.c_str() + at + key.size() + 4);
}

struct Tally {
  long transactions = 0;
  long checks = 0;
  long busy = 0;
  long bad = 0;
};

class ReplicaCrash : public ::testing::Test {
 protected:
  void MakeCommits(uint32_t page_size, size_t steps, uint64_t seed) {
    page_size_ = page_size;
    CommitSource source(dir_ / "source.db", page_size, LedgerSetup(seed % 2 == 0 ? 0 : 1));
    commits_.push_back(source.Snapshot());
    for (size_t step = 0; step < steps; ++step) commits_.push_back(source.Run(LedgerStep(seed, step)));
    final_ = source.Snapshot();
    SaveCommits(dir_ / "commits", page_size, commits_);
  }

  void NewReplica(const std::string& name) { path_ = dir_ / name; }

  std::unique_ptr<ChildProcess> StartApplier(const std::vector<std::string>& flags, const std::string& crash_point) {
    ChildProcess::Options options;
    options.argv = {REPLICA_APPLIER, path_, dir_ / "commits"};
    options.argv.insert(options.argv.end(), flags.begin(), flags.end());
    options.output = path_ + ".applier";
    if (!crash_point.empty()) {
      options.environment = {"RUNNEL_CRASH_POINT=" + crash_point, "RUNNEL_CRASH_LOG=" + path_ + ".points"};
    }
    Result<std::unique_ptr<ChildProcess>> child = ChildProcess::Start(std::move(options));
    EXPECT_TRUE(child.ok());
    return std::move(*child);
  }
  int RunApplier(const std::vector<std::string>& flags, const std::string& crash_point = "") {
    return StartApplier(flags, crash_point)->Wait(kDeadline).value_or(-1);
  }

  void StartReader(const std::vector<std::string>& flags) {
    ChildProcess::Options options;
    options.argv = {SQLITE_READER, path_};
    options.argv.insert(options.argv.end(), flags.begin(), flags.end());
    options.output = path_ + ".reader" + std::to_string(++reader_number_);
    Result<std::unique_ptr<ChildProcess>> child = ChildProcess::Start(std::move(options));
    ASSERT_TRUE(child.ok());
    readers_.push_back(std::move(*child));
  }
  void StopReaders(int signal) {
    for (auto& reader : readers_) {
      reader->Kill(signal);
      int code = reader->Wait(kDeadline).value_or(-1);
      if (signal == SIGKILL) continue;
      EXPECT_EQ(code, 0) << reader->Output();
      std::string seen = reader->Output();
      tally_.transactions += Number(seen, "transactions");
      tally_.checks += Number(seen, "checks");
      tally_.busy += Number(seen, "busy");
      tally_.bad += Number(seen, "bad");
    }
    readers_.clear();
  }
  void ReadOnce() {
    StartReader({"--once"});
    EXPECT_EQ(readers_.back()->Wait(kDeadline).value_or(-1), 0) << readers_.back()->Output();
    readers_.pop_back();
    ++tally_.transactions;
    ++tally_.checks;
  }

  void ExpectFinalImage() {
    Result<std::unique_ptr<replica::Replica>> attached = replica::Replica::Attach({.path = path_});
    ASSERT_TRUE(attached.ok()) << attached.error().message();
    const replica::ReplicaState& state = (*attached)->state();
    EXPECT_TRUE(state.exact) << state.note;
    EXPECT_EQ(ToString(state.at), ToString(final_.post));
    ASSERT_EQ(state.page_count, final_.page_count);
    std::vector<std::byte> page(page_size_);
    for (const SourcePage& expected : final_.pages) {
      Status read = (*attached)->ReadPage(expected.pgno, page);
      ASSERT_TRUE(read.ok()) << read.error().message();
      ASSERT_TRUE(page == expected.bytes) << "page " << expected.pgno.raw();
    }
  }

  TempDir dir_;
  uint32_t page_size_ = 0;
  std::vector<SourceCommit> commits_;
  SourceCommit final_;
  std::string path_;
  std::vector<std::unique_ptr<ChildProcess>> readers_;
  int reader_number_ = 0;
  Tally tally_;
};

class ReplicaCrashPoint : public ReplicaCrash, public ::testing::WithParamInterface<std::string_view> {
 protected:
  bool Is(std::string_view prefix) const { return GetParam().substr(0, prefix.size()) == prefix; }

  // The n-th passages to die at: places that are passed once, and places that are passed again and again.
  std::vector<int> Passages() const {
    if (Is("bootstrap") || Is("detach")) return {1};
    if (Is("recover")) return {1, 1};
    return {1, 3, 2, 9};
  }

  // One life after the other, each killed at the point; then one that gets to the end.
  void DieAndRecover(bool with_reader) {
    std::vector<std::string> flags = {"--checkpoint-frames", "40", "--rate", with_reader ? "1500" : "0"};
    if (Is("recover")) flags.insert(flags.end(), {"--tear-header-at", "15"});
    if (with_reader) StartReader({});
    int lives = 0;
    for (int passage : Passages()) {
      int code = RunApplier(flags, std::string(GetParam()) + ":" + std::to_string(passage));
      ASSERT_TRUE(code == kKilled || code == 0) << Read(path_ + ".applier");
      if (code == 0) break;  // got to the end before
      kills_ += 1;
      bool has_image = !Is("bootstrap_image") && !Is("bootstrap_position");
      if (lives++ % 2 == 0 && has_image) ReadOnce();
    }
    ASSERT_EQ(RunApplier({"--checkpoint-frames", "40"}), 0) << Read(path_ + ".applier");
    StopReaders(SIGTERM);
    ReadOnce();
    ExpectFinalImage();
  }

  int kills_ = 0;
};

TEST_P(ReplicaCrashPoint, LeavesOneExactCommitToWhoeverComesNext) {
  MakeCommits(4096, 100, 11);
  NewReplica("alone.db");
  DieAndRecover(false);
  EXPECT_GT(kills_, 0) << GetParam() << " was never passed";
  std::string points = Read(path_ + ".points");
  EXPECT_EQ(std::count(points.begin(), points.end(), '\n'), kills_);
  NewReplica("read.db");
  DieAndRecover(true);
  EXPECT_EQ(tally_.bad, 0);
  std::cout << GetParam() << ": " << kills_ << " kills, " << tally_.transactions << " read transactions\n";
}

INSTANTIATE_TEST_SUITE_P(All, ReplicaCrashPoint, ::testing::ValuesIn(replica::kCrashPoints),
                         [](const auto& point) { return std::string(point.param); });

class ReplicaTorture : public ReplicaCrash, public ::testing::WithParamInterface<uint32_t> {};

TEST_P(ReplicaTorture, ReadersNeverSeeAnythingButWholeCommitsInOrder) {
  const char* given = std::getenv("RUNNEL_SEED");
  uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  SCOPED_TRACE("RUNNEL_SEED=" + std::to_string(seed));
  std::mt19937_64 random(seed);
  MakeCommits(GetParam(), 250, seed);
  NewReplica("tortured.db");
  ASSERT_EQ(RunApplier({}, "bootstrap_renamed"), kKilled);
  auto start_readers = [&] {
    StartReader({"--churn"});
    StartReader({"--read-only", "--hold-ms", "60"});
    StartReader({"--mmap"});
    StartReader({"--checkpoint", random() % 2 == 0 ? "passive" : "full"});
    StartReader({"--churn", "--checkpoint", random() % 2 == 0 ? "truncate" : "restart"});
  };
  start_readers();
  int kills = 0;
  int code = kKilled;
  for (int life = 0; code == kKilled; ++life) {
    ASSERT_LT(life, 400) << "no progress";
    std::vector<std::string> flags = {"--rate",
                                      "120",
                                      "--checkpoint-frames",
                                      std::to_string(20 + random() % 200),
                                      "--sync",
                                      std::vector<std::string>{"off", "normal", "full"}[random() % 3],
                                      "--batch",
                                      std::to_string(1 + random() % 3),
                                      "--wal-limit",
                                      "2000000"};
    std::string point;
    if (random() % 2 == 0) {
      point = std::string(replica::kCrashPoints[random() % replica::kCrashPoints.size()]) + ":" +
              std::to_string(1 + random() % 40);
    }
    std::unique_ptr<ChildProcess> applier = StartApplier(flags, point);
    std::optional<int> ended = applier->Wait(milliseconds(50 + random() % 400));
    if (!ended) applier->Kill(SIGKILL);
    code = applier->Wait(kDeadline).value_or(-1);
    ASSERT_TRUE(code == kKilled || code == 0) << Read(path_ + ".applier");
    if (code == kKilled) ++kills;
    if (life % 12 == 11) {
      StopReaders(random() % 3 == 0 ? SIGKILL : SIGTERM);
      ReadOnce();  // a lone client, which is also the last one to close
      start_readers();
    }
  }
  StopReaders(SIGTERM);
  ExpectFinalImage();
  EXPECT_EQ(tally_.bad, 0);
  EXPECT_GT(tally_.transactions, 100);
  std::cout << "seed " << seed << ": " << kills << " kills, " << tally_.transactions << " read transactions, "
            << tally_.checks << " integrity checks, " << tally_.busy << " busy, " << tally_.bad << " bad\n";
}

INSTANTIATE_TEST_SUITE_P(PageSizes, ReplicaTorture, ::testing::Values(4096u, 1024u));

}  // namespace
}  // namespace runnel::testing
