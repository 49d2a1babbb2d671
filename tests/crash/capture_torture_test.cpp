// Capture beside real writers, hostile checkpointers and kill -9, each in a process of its own. At the end the captured
// image must be the database byte for byte, and where capture was not killed every acknowledged commit must have been
// captured once.
//
// RUNNEL_TORTURE_SECONDS makes each run longer, RUNNEL_SEED repeats one (it is printed).
#include <gtest/gtest.h>
#include <signal.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <thread>

#include "tests/support/child_process.h"
#include "tests/support/image_publisher.h"
#include "tests/support/temp_dir.h"

namespace runnel::testing {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;
using Process = std::unique_ptr<ChildProcess>;

uint64_t Seed() {
  const char* text = std::getenv("RUNNEL_SEED");
  return text != nullptr ? std::strtoull(text, nullptr, 10) : std::random_device()();
}

struct Torture {
  int page_size = 4096;
  int ack_us = 0;
  bool kill_capture = false;
  bool kill_writers = false;
  std::vector<std::string> capture_keys = {};
};

class CaptureTorture : public ::testing::Test {
 protected:
  void SetUp() override {
    seed_ = Seed();
    random_.seed(seed_);
    const char* text = std::getenv("RUNNEL_TORTURE_SECONDS");
    duration_ = milliseconds(text != nullptr ? std::strtol(text, nullptr, 10) * 1000 : 3000);
    std::printf("RUNNEL_SEED=%llu\n", static_cast<unsigned long long>(seed_));
    db_ = (dir_ / "app.db").string();
    out_ = (dir_ / "out").string();
    std::filesystem::create_directory(out_);
  }

  Process Start(std::vector<std::string> argv, const std::string& output) {
    Result<Process> started = ChildProcess::Start({.argv = std::move(argv), .output = dir_ / output});
    EXPECT_TRUE(started.ok()) << (started.ok() ? "" : started.error().message());
    return started.ok() ? std::move(*started) : nullptr;
  }
  Process App(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {SQLITE_APP, db_});
    return Start(std::move(arguments), "apps.txt");
  }
  // A writer or a disturber that lasts as long as the run.
  void Run(std::vector<std::string> arguments) {
    char secs[32];
    std::snprintf(secs, sizeof secs, "secs=%.3f", static_cast<double>(duration_.count()) / 1000);
    arguments.push_back(secs);
    arguments.push_back("seed=" + std::to_string(random_() % 1000000));
    apps_.push_back(App(std::move(arguments)));
  }
  void Init(int page_size) {
    Process init = App({"init", "rows=300", "ps=" + std::to_string(page_size)});
    ASSERT_EQ(init->Wait(std::chrono::seconds(20)), 0);
  }

  void StartCapture(const Torture& torture) {
    std::filesystem::remove(out_ + "/ready");
    std::vector<std::string> argv = {CAPTURE_APP, db_, out_, "ack_us=" + std::to_string(torture.ack_us)};
    argv.insert(argv.end(), torture.capture_keys.begin(), torture.capture_keys.end());
    capture_ = Start(std::move(argv), "capture.txt");
    Clock::time_point deadline = Clock::now() + std::chrono::seconds(20);
    while (!std::filesystem::exists(out_ + "/ready")) {
      ASSERT_TRUE(capture_->running()) << capture_->Output();
      ASSERT_LT(Clock::now(), deadline) << "capture did not get ready";
      std::this_thread::yield();
    }
  }
  void StopCapture() {
    capture_->Kill(SIGTERM);
    ASSERT_EQ(capture_->Wait(std::chrono::seconds(30)), 0) << capture_->Output();
    // The last line: "commits=1 images=1 ...".
    std::string output = capture_->Output();
    while (!output.empty() && output.back() == '\n') output.pop_back();
    std::istringstream line(output.substr(output.rfind('\n') + 1));
    std::printf("%s\n", line.str().c_str());
    for (std::string word; line >> word;) {
      size_t equals = word.find('=');
      if (equals != std::string::npos)
        numbers_[word.substr(0, equals)] = std::strtod(word.c_str() + equals + 1, nullptr);
    }
  }

  uint64_t Acknowledged() const {
    uint64_t sum = 0;
    for (const auto& entry : std::filesystem::directory_iterator(dir_.path())) {
      if (entry.path().extension() != ".cnt") continue;
      uint64_t count = 0;
      std::ifstream in(entry.path(), std::ios::binary);
      in.read(reinterpret_cast<char*>(&count), sizeof count);
      sum += count;
    }
    return sum;
  }

  milliseconds RandomTime(int from, int to) {
    return milliseconds(from + static_cast<int>(random_() % static_cast<uint64_t>(to - from)));
  }
  // Ends when the run is over; a wait for a process that does not end is the pause.
  void Pause(milliseconds time) { apps_.front()->Wait(time); }

  void KillUntil(Clock::time_point end, const Torture& torture) {
    while (Clock::now() < end) {
      std::vector<Process> victims;
      if (torture.kill_writers) {
        std::string seed = "seed=" + std::to_string(1000000 + random_() % 3);
        victims.push_back(App({"ins", "secs=30", "rate=600", "sync=FULL", seed}));
        victims.push_back(App({"mix", "secs=30", seed}));
        victims.push_back(App({"ckpt", "secs=30", seed}));
      }
      Pause(RandomTime(50, 500));
      for (Process& victim : victims) {
        victim->Kill(SIGKILL);
        victim->Wait(std::chrono::seconds(5));
        ++writer_kills_;
      }
      if (torture.kill_capture) {
        capture_->Kill(SIGKILL);
        capture_->Wait(std::chrono::seconds(5));
        ++capture_kills_;
        if (random_() % 2 == 0) Pause(RandomTime(1, 90));
        ASSERT_NO_FATAL_FAILURE(StartCapture(torture));
      }
    }
  }

  void RunTorture(const Torture& torture) {
    ASSERT_NO_FATAL_FAILURE(Init(torture.page_size));
    ASSERT_NO_FATAL_FAILURE(StartCapture(torture));
    Clock::time_point end = Clock::now() + duration_;
    Run({"mix"});
    Run({"mix", "auto=100"});
    Run({"big"});
    Run({"ckpt"});
    Run({"ckpt"});
    Run({"ddl"});
    Run({"churn"});
    Run({"reader"});
    if (!torture.kill_writers) Run({"ins", "rate=300", "sync=FULL"});
    ASSERT_NO_FATAL_FAILURE(KillUntil(torture.kill_capture || torture.kill_writers ? end : Clock::now(), torture));
    ASSERT_NO_FATAL_FAILURE(Finish(torture));
  }

  void Finish(const Torture& torture) {
    for (Process& app : apps_) ASSERT_EQ(app->Wait(duration_ + std::chrono::seconds(30)), 0);
    ASSERT_NO_FATAL_FAILURE(StopCapture());
    double acknowledged = static_cast<double>(Acknowledged());
    std::printf("acknowledged=%.0f capture_kills=%d writer_kills=%d\n", acknowledged, capture_kills_, writer_kills_);
    EXPECT_EQ(CompareWithImage(db_, out_), "");
    EXPECT_GT(acknowledged, 20);
    if (torture.kill_capture) return;  // what fell into an outage is in the image, not in a count
    EXPECT_EQ(numbers_["gaps"], 0);
    EXPECT_EQ(numbers_["images"], 1);
    EXPECT_GE(numbers_["commits"], acknowledged);
    // A writer killed between its commit and its count has committed all the same.
    EXPECT_LE(numbers_["commits"], acknowledged + writer_kills_);
  }

  TempDir dir_;
  uint64_t seed_ = 0;
  std::mt19937_64 random_;
  milliseconds duration_{0};
  std::string db_;
  std::string out_;
  std::vector<Process> apps_;
  Process capture_;
  std::map<std::string, double> numbers_;
  int capture_kills_ = 0;
  int writer_kills_ = 0;
};

TEST_F(CaptureTorture, CapturesEachCommitBesideHostileCheckpointers) { RunTorture({}); }

TEST_F(CaptureTorture, CapturesEachCommitOf512BytePagesOverASlowBus) { RunTorture({.page_size = 512, .ack_us = 3000}); }

TEST_F(CaptureTorture, CapturesEachCommitOf65536BytePages) { RunTorture({.page_size = 65536}); }

TEST_F(CaptureTorture, CapturesEachCommitOfWritersThatAreKilled) { RunTorture({.ack_us = 1000, .kill_writers = true}); }

TEST_F(CaptureTorture, EndsWithTheSameBytesWhenItIsKilled) { RunTorture({.kill_capture = true}); }

TEST_F(CaptureTorture, EndsWithTheSameBytesWhenAllAreKilledOverASlowBus) {
  RunTorture({.page_size = 512, .ack_us = 5000, .kill_capture = true, .kill_writers = true});
}

TEST_F(CaptureTorture, KeepsUnreleasedCommitsInTheWalWhileAnApplicationTruncatesInALoop) {
  Torture torture{.ack_us = 20000};
  ASSERT_NO_FATAL_FAILURE(Init(4096));
  ASSERT_NO_FATAL_FAILURE(StartCapture(torture));
  Run({"ins", "rate=200"});
  Run({"trunc"});
  ASSERT_NO_FATAL_FAILURE(Finish(torture));
  EXPECT_GT(numbers_["resets"], 0) << "the loop never got its TRUNCATE";
}

TEST_F(CaptureTorture, FinishesCheckpointsByForceOnlyUnderASaturatedWriter) {
  Torture torture{.ack_us = 200, .capture_keys = {"limit=8000000"}};
  ASSERT_NO_FATAL_FAILURE(Init(4096));
  ASSERT_NO_FATAL_FAILURE(StartCapture(torture));
  Run({"ins", "rate=500"});
  ASSERT_NO_FATAL_FAILURE(Finish(torture));
  EXPECT_EQ(numbers_["forced"] + numbers_["refused"], 0);
  EXPECT_GT(numbers_["resets"], 0);
}

TEST_F(CaptureTorture, BoundsTheWalOfASaturatedWriter) {
  Torture torture{.ack_us = 200, .capture_keys = {"limit=8000000"}};
  ASSERT_NO_FATAL_FAILURE(Init(4096));
  ASSERT_NO_FATAL_FAILURE(StartCapture(torture));
  Run({"ins"});
  ASSERT_NO_FATAL_FAILURE(Finish(torture));
  EXPECT_GT(numbers_["resets"], 0);
  EXPECT_LT(numbers_["wal_mb"], 200);
}

TEST_F(CaptureTorture, LeavesTheWalAloneWhenToldNeverToCheckpoint) {
  Torture torture{.capture_keys = {"limit=1000000", "checkpoint=0"}};
  ASSERT_NO_FATAL_FAILURE(Init(4096));
  ASSERT_NO_FATAL_FAILURE(StartCapture(torture));
  Run({"ins", "rate=2000"});
  ASSERT_NO_FATAL_FAILURE(Finish(torture));
  EXPECT_EQ(numbers_["ckpt"] + numbers_["forced"], 0);
}

TEST_F(CaptureTorture, CapturesEachCommitByPollingAlone) {
  Torture torture{.capture_keys = {"detect=poll"}};
  ASSERT_NO_FATAL_FAILURE(Init(1024));
  ASSERT_NO_FATAL_FAILURE(StartCapture(torture));
  Run({"mix"});
  Run({"churn"});
  Run({"ckpt"});
  ASSERT_NO_FATAL_FAILURE(Finish(torture));
}

}  // namespace
}  // namespace runnel::testing
