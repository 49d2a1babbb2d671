// Takeovers whose answers are lost, over a real log of segment files: what a sender knows as its own, and that it takes
// no rival's for that.
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bus/open.h"
#include "publisher/log_head.h"
#include "publisher/sender.h"
#include "tests/support/temp_dir.h"

namespace runnel::publisher {
namespace {

using bus::Epoch;

const Position kHead{Txid(7), Checksum(Checksum::kFlag | 7)};

// A log far away: the answers to takeovers can be lost, with the writer that they would have brought, or the takeovers
// themselves be late.
class FarLog : public bus::Log {
 public:
  explicit FarLog(std::unique_ptr<bus::Log> log) : log_(std::move(log)) {}

  // Of the next takeovers.
  void LoseAnswers(int count) { losses_ = count; }
  void HoldUp(int count) { late_ = count; }
  // What was held up first.
  Status Arrive() {
    const bus::TakeOverDecision decision = [&](const std::optional<bus::Message>&) { return held_up_; };
    TRY(log_->TakeOver(decision, {}, {}));
    return Ok();
  }

  Result<std::unique_ptr<bus::LogWriter>> TakeOver(const bus::TakeOverDecision& decision, bus::WriterOptions options,
                                                   std::stop_token stop) override {
    if (late_ > 0) {
      --late_;
      TRY_ASSIGN(const std::optional<bus::Message> tail, log_->Tail());
      TRY_ASSIGN(std::optional<std::string> marker, decision(tail));
      if (!held_up_) held_up_ = std::move(marker);
      return Error(Errc::kTimeout, "no answer");
    }
    Result<std::unique_ptr<bus::LogWriter>> writer = log_->TakeOver(decision, std::move(options), std::move(stop));
    if (!writer.ok() || losses_ == 0) return writer;
    --losses_;
    return Error(Errc::kUnavailable, "connection closed");
  }
  Result<bus::LogInfo> Info() override { return log_->Info(); }
  Status Create() override { return log_->Create(); }
  Result<std::optional<bus::Message>> Tail() override { return log_->Tail(); }
  Result<std::optional<bus::Message>> Get(bus::StreamSeq seq) override { return log_->Get(seq); }
  Result<std::unique_ptr<bus::LogReader>> Read(bus::StartAt start) override { return log_->Read(start); }
  Status TrimBefore(bus::StreamSeq seq) override { return log_->TrimBefore(seq); }

 private:
  std::unique_ptr<bus::Log> log_;
  int losses_ = 0;
  int late_ = 0;
  std::optional<std::string> held_up_;
};

// Two publishers of one name on one machine, each with its own way to one log, which the first has led in epoch 1.
class TakeoverTest : public ::testing::Test {
 protected:
  struct Publisher {
    FarLog log;
    Sender sender;
    explicit Publisher(std::unique_ptr<bus::Log> to) : log(std::move(to)), sender(log, Options()) {}
    static SenderOptions Options() {
      SenderOptions options;
      options.database = "orders";
      options.node = "node-a";
      options.page_size = PageSize(4096);
      return options;
    }
  };

  void SetUp() override { ASSERT_TRUE(Lead(ours_, 0).ok()); }

  std::unique_ptr<bus::Log> Open() {
    Result<std::unique_ptr<bus::Log>> log = bus::OpenLog("file://" + dir_.path().string() + "/orders?sync=none", {});
    EXPECT_TRUE(log.ok());
    EXPECT_TRUE((*log)->Create().ok());
    return *std::move(log);
  }
  LogHead Head() {
    Result<LogHead> head = ReadLogHead(ours_.log);
    EXPECT_TRUE(head.ok()) << head.error().message();
    return *head;
  }
  Status Lead(Publisher& publisher, uint64_t epoch_floor) { return Lead(publisher, epoch_floor, Head()); }
  Status Lead(Publisher& publisher, uint64_t epoch_floor, const LogHead& head) {
    return publisher.sender.Lead(head, lineage_, Epoch(epoch_floor), kHead, {});
  }
  bool TookOver(Publisher& publisher) {
    Result<bool> took_over = publisher.sender.TookOverUnheard(Head());
    EXPECT_TRUE(took_over.ok()) << took_over.error().message();
    return took_over.ok() && *took_over;
  }

  testing::TempDir dir_;
  const bus::Lineage lineage_ = bus::Lineage::Random();
  Publisher ours_{Open()};
  Publisher rival_{Open()};
};

TEST_F(TakeoverTest, OneWhoseAnswerWasLostIsKnownUntilTheNextIsHeardOf) {
  EXPECT_FALSE(TookOver(ours_)) << "of this one we have heard";
  ours_.log.LoseAnswers(2);
  EXPECT_EQ(Lead(ours_, 1).code(), Errc::kUnavailable);
  EXPECT_EQ(Head().epoch, Epoch(2));
  EXPECT_TRUE(TookOver(ours_));
  EXPECT_EQ(Lead(ours_, 1).code(), Errc::kUnavailable);
  EXPECT_EQ(Head().epoch, Epoch(3));
  EXPECT_TRUE(TookOver(ours_));
  EXPECT_FALSE(TookOver(rival_));
  ASSERT_TRUE(Lead(ours_, 1).ok());
  EXPECT_EQ(ours_.sender.epoch(), Epoch(4));
  EXPECT_FALSE(TookOver(ours_));
}

TEST_F(TakeoverTest, OneThatArrivesAfterTheNextAttemptIsKnown) {
  ours_.log.HoldUp(2);
  EXPECT_EQ(Lead(ours_, 1).code(), Errc::kTimeout);
  EXPECT_EQ(Lead(ours_, 1).code(), Errc::kTimeout);
  EXPECT_FALSE(TookOver(ours_));
  ASSERT_TRUE(ours_.log.Arrive().ok());
  EXPECT_EQ(Head().epoch, Epoch(2));
  EXPECT_TRUE(TookOver(ours_));
}

TEST_F(TakeoverTest, ARivalOfTheSameEpochIsOne) {
  const LogHead before = Head();
  ASSERT_TRUE(Lead(rival_, 1, before).ok());
  // Both have seen the same end of the log: only one marker can follow it.
  EXPECT_EQ(Lead(ours_, 1, before).code(), Errc::kUnavailable);
  EXPECT_EQ(ours_.sender.epoch(), Epoch(2));
  EXPECT_EQ(Head().epoch, Epoch(2));
  EXPECT_FALSE(TookOver(ours_));
}

TEST_F(TakeoverTest, ARivalOfTheSameEpochIsOneThoughWeHadTriedThatEpoch) {
  const LogHead before = Head();
  ours_.log.LoseAnswers(1);
  EXPECT_EQ(Lead(ours_, 1).code(), Errc::kUnavailable);
  const bus::StreamSeq unheard = Head().tail_seq;
  EXPECT_TRUE(TookOver(ours_));
  // As if the log had lost that marker again: the rival's lies in another place, but has the same epoch.
  LogHead moved = before;
  moved.tail_seq = unheard;
  ASSERT_TRUE(Lead(rival_, 1, moved).ok());
  EXPECT_EQ(Head().epoch, Epoch(2));
  EXPECT_FALSE(TookOver(ours_));
}

TEST_F(TakeoverTest, ARivalBehindAnUnheardTakeoverIsOne) {
  ours_.log.LoseAnswers(1);
  EXPECT_EQ(Lead(ours_, 1).code(), Errc::kUnavailable);
  ASSERT_TRUE(Lead(rival_, 1).ok());
  EXPECT_EQ(Head().epoch, Epoch(3));
  EXPECT_FALSE(TookOver(ours_));
}

TEST_F(TakeoverTest, WhatARivalSendsBehindItsTakeoverIsNotOurs) {
  ours_.log.LoseAnswers(1);
  EXPECT_EQ(Lead(ours_, 1).code(), Errc::kUnavailable);
  ASSERT_TRUE(Lead(rival_, 1).ok());
  EXPECT_TRUE(rival_.sender.SendHeartbeat(kHead, {}).ok());
  EXPECT_FALSE(TookOver(ours_));
}

}  // namespace
}  // namespace runnel::publisher
