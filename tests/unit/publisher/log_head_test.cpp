// Who has published what at the end of a log, over a real one of segment files.
#include "publisher/log_head.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <variant>

#include "bus/envelope.h"
#include "tests/support/scratch_log.h"
#include "tests/support/temp_dir.h"

namespace runnel::publisher {
namespace {

using bus::Epoch;

// A log into which anything can be put, at TXID 7.
class LogHeadTest : public ::testing::Test {
 protected:
  void Put(uint64_t epoch, decltype(bus::Envelope::body) body) {
    const bool commits = std::holds_alternative<bus::Commits>(body);
    bus::Envelope envelope;
    envelope.header.lineage = lineage_;
    envelope.header.epoch = Epoch(epoch);
    envelope.header.database = "app";
    envelope.header.min_txid = Txid(commits ? 7 : 8);
    envelope.header.position = {Txid(7), Checksum(Checksum::kFlag | 7)};
    envelope.header.page_size = PageSize(4096);
    envelope.body = std::move(body);
    log_.Append(std::move(envelope));
    log_.Settle();
  }
  void PutCommit(uint64_t epoch) {
    bus::Entry entry;
    entry.min_txid = entry.max_txid = Txid(7);
    entry.ltx = "LTX1";
    Put(epoch, bus::Commits{{std::move(entry)}});
  }
  void TakeOver(uint64_t epoch) { Put(epoch, bus::TakeOverMarker()); }

  bool NothingSince(uint64_t epoch) {
    Result<LogHead> head = ReadLogHead(log_.log());
    EXPECT_TRUE(head.ok()) << head.error().message();
    Result<bool> nothing = NothingPublishedSince(log_.log(), *head, Epoch(epoch));
    EXPECT_TRUE(nothing.ok()) << nothing.error().message();
    return nothing.ok() && *nothing;
  }

  testing::TempDir dir_;
  testing::ScratchLog log_{dir_.path() / "app"};
  const bus::Lineage lineage_ = bus::Lineage::Random();
};

TEST_F(LogHeadTest, TakeoversAndHeartbeatsPublishNothing) {
  PutCommit(4);
  TakeOver(5);
  EXPECT_TRUE(NothingSince(4));
  Put(5, bus::Heartbeat());
  TakeOver(6);
  Put(6, bus::Heartbeat());
  EXPECT_TRUE(NothingSince(4));
  EXPECT_TRUE(NothingSince(5));
}

TEST_F(LogHeadTest, ACommitOfALaterLeadershipIsSomething) {
  PutCommit(4);
  TakeOver(5);
  PutCommit(5);
  EXPECT_FALSE(NothingSince(4));
  TakeOver(6);
  EXPECT_FALSE(NothingSince(4));
  EXPECT_TRUE(NothingSince(5));
}

TEST_F(LogHeadTest, WhatAnOlderLeadershipGetsInLateHidesNoCommit) {
  PutCommit(4);
  TakeOver(5);
  PutCommit(5);
  PutCommit(4);
  Put(5, bus::Heartbeat());
  EXPECT_FALSE(NothingSince(4));
}

TEST_F(LogHeadTest, WithoutTheirMarkersNobodyCanTell) {
  PutCommit(4);
  TakeOver(6);  // 5 is not there: another log, or messages were lost
  EXPECT_FALSE(NothingSince(4));
}

TEST_F(LogHeadTest, AMessageThatCannotBeReadMayBeACommit) {
  PutCommit(4);
  TakeOver(5);
  log_.Append("no envelope");
  log_.Settle();
  TakeOver(6);
  EXPECT_TRUE(NothingSince(5));
  EXPECT_FALSE(NothingSince(4));
}

}  // namespace
}  // namespace runnel::publisher
