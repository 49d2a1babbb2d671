// Who has published what at the end of a log, over a real one of segment files.
#include "publisher/log_head.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <optional>
#include <utility>
#include <variant>

#include "bus/envelope.h"
#include "ltx/sqlite/wal_format.h"
#include "tests/support/ltx_spec.h"
#include "tests/support/scratch_log.h"
#include "tests/support/temp_dir.h"

namespace runnel::publisher {
namespace {

using bus::Epoch;

constexpr uint32_t kPageSize = 4096;

Position At(uint64_t txid) { return {Txid(txid), Checksum(Checksum::kFlag | txid)}; }

// A log into which anything can be put, at TXID 7 if nothing else is said.
class LogHeadTest : public ::testing::Test {
 protected:
  using Body = decltype(bus::Envelope::body);

  void Put(uint64_t epoch, Body body, uint64_t txid = 7) {
    const bool commits = std::holds_alternative<bus::Commits>(body);
    Append(epoch, Txid(commits ? txid : txid + 1), At(txid), std::move(body));
  }
  // `frame`: where its pages end in the WAL.
  void PutCommit(uint64_t epoch, uint64_t txid = 7, uint32_t frame = 1) {
    testing::LtxSpec spec = testing::Commit(kPageSize, txid, {{1, testing::Page(kPageSize, 'a')}});
    spec.header.wal_offset = sqlite::FrameOffset(frame, kPageSize);
    spec.header.wal_bytes = sqlite::kFrameHeaderBytes + kPageSize;
    bus::Entry entry;
    entry.min_txid = entry.max_txid = Txid(txid);
    entry.ltx = testing::ToBytes(spec);
    Put(epoch, bus::Commits{{std::move(entry)}}, txid);
  }
  // The beginning of an LTX that is never finished.
  void PutFirstChunk(uint64_t epoch, uint64_t txid) {
    bus::Chunk chunk;
    chunk.entry.min_txid = chunk.entry.max_txid = Txid(txid);
    chunk.data = "LTX1";
    Append(epoch, Txid(txid), {Txid(txid), Checksum()}, std::move(chunk));
  }
  void TakeOver(uint64_t epoch) { Put(epoch, bus::TakeOverMarker()); }

  // As one reads it whose last leadership was of this epoch; 0: who has never led.
  LogHead Head(uint64_t led) {
    Result<LogHead> head = ReadLogHead(log_.log(), {lineage_, Epoch(led)});
    EXPECT_TRUE(head.ok()) << head.error().message();
    return head.ok() ? *head : LogHead();
  }
  bool NothingSince(uint64_t epoch) {
    Result<LogHead> head = ReadLogHead(log_.log());
    EXPECT_TRUE(head.ok()) << head.error().message();
    Result<bool> nothing = NothingPublishedSince(log_.log(), *head, Epoch(epoch));
    EXPECT_TRUE(nothing.ok()) << nothing.error().message();
    return nothing.ok() && *nothing;
  }

  void Append(uint64_t epoch, Txid min_txid, const Position& position, Body body) {
    bus::Envelope envelope;
    envelope.header.lineage = lineage_;
    envelope.header.epoch = Epoch(epoch);
    envelope.header.database = "app";
    envelope.header.min_txid = min_txid;
    envelope.header.position = position;
    envelope.header.page_size = PageSize(kPageSize);
    envelope.body = std::move(body);
    log_.Append(std::move(envelope));
    log_.Settle();
  }

  testing::TempDir dir_;
  testing::ScratchLog log_{dir_.path() / "app"};
  bus::Lineage lineage_ = bus::Lineage::Random();
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

TEST_F(LogHeadTest, WhatAnOlderLeadershipGotInLastIsSteppedOver) {
  PutCommit(4, 6);
  TakeOver(5);
  PutCommit(5, 7);
  const bus::StreamSeq newest(log_.next().raw() - 1);
  PutCommit(4, 7);
  log_.Append("no envelope");
  PutCommit(3, 9);
  const LogHead head = Head(5);
  EXPECT_EQ(head.position, At(7));
  EXPECT_EQ(head.epoch, Epoch(5));
  EXPECT_EQ(head.newest_seq, newest);
  EXPECT_EQ(head.tail_seq.raw(), log_.next().raw() - 1) << "a takeover comes behind all of it";
}

TEST_F(LogHeadTest, BehindATakeoverAloneItIsSteppedOverToo) {
  PutCommit(4, 7);
  TakeOver(5);
  PutCommit(4, 8);
  PutCommit(4, 9);
  EXPECT_EQ(Head(5).position, At(7));
  EXPECT_EQ(Head(5).epoch, Epoch(5));
}

TEST_F(LogHeadTest, BehindAnUnfinishedFileItIsSteppedOverToo) {
  TakeOver(5);
  PutFirstChunk(5, 8);
  PutCommit(4, 8);
  EXPECT_EQ(Head(5).position, At(7));
}

TEST_F(LogHeadTest, AWindowOfVoidMessagesIsSteppedOver) {
  PutCommit(5, 7);
  for (uint64_t txid = 8; txid < 8 + 1024; ++txid) PutCommit(4, txid);
  EXPECT_EQ(Head(5).position, At(7));
}

TEST_F(LogHeadTest, ALogThatHasLostALeadershipEndsWithWhatIsLeft) {
  PutCommit(3, 6);
  PutCommit(4, 7);
  const LogHead head = Head(5);
  EXPECT_EQ(head.position, At(7));
  EXPECT_EQ(head.epoch, Epoch(4));
  EXPECT_EQ(head.newest_seq, head.tail_seq);
}

TEST_F(LogHeadTest, AnotherHistoryCountsItsOwnEpochs) {
  PutCommit(5, 7);
  const bus::Lineage ours = std::exchange(lineage_, bus::Lineage::Random());
  PutCommit(1, 8);
  Result<LogHead> head = ReadLogHead(log_.log(), {ours, Epoch(5)});
  ASSERT_TRUE(head.ok());
  EXPECT_EQ(head->lineage, lineage_);
  EXPECT_EQ(head->position, At(8));
}

TEST_F(LogHeadTest, TheLastCommitOfTheWalIsNoVoidOne) {
  PutCommit(4, 6);
  TakeOver(5);
  PutCommit(5, 7, 20);
  PutCommit(4, 7, 30);
  Result<std::optional<WalPosition>> at = ReadLastWalPosition(log_.log(), Head(5), 100);
  ASSERT_TRUE(at.ok()) << at.error().message();
  ASSERT_TRUE(at->has_value());
  EXPECT_EQ((*at)->frame, 20U);
}

}  // namespace
}  // namespace runnel::publisher
