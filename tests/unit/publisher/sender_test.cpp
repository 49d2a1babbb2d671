// What a leadership may send, over a real log of segment files: nothing that leaves a hole.
#include "publisher/sender.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bus/open.h"
#include "ltx/base/time.h"
#include "tests/support/temp_dir.h"

namespace runnel::publisher {
namespace {

using bus::Origin;
using std::chrono::seconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

Position At(uint64_t txid) { return {Txid(txid), Checksum(Checksum::kFlag | txid)}; }

bus::Entry SomeLtx(uint64_t min_txid, uint64_t max_txid, Origin origin = Origin::kCommit) {
  bus::Entry entry;
  entry.min_txid = Txid(min_txid);
  entry.max_txid = Txid(max_txid);
  entry.origin = origin;
  entry.ltx = "LTX1";
  return entry;
}

// A log and a sender that leads it.
class SenderTest : public ::testing::Test {
 protected:
  explicit SenderTest(uint64_t led = 4) {
    log_ = Open("orders");
    sender_ = Lead(*log_, led);
  }

  std::unique_ptr<bus::Log> Open(const std::string& name) {
    Result<std::unique_ptr<bus::Log>> log =
        bus::OpenLog("file://" + dir_.path().string() + "/" + name + "?sync=none", {});
    EXPECT_TRUE(log.ok());
    EXPECT_TRUE((*log)->Create().ok());
    return *std::move(log);
  }
  std::unique_ptr<Sender> Lead(bus::Log& log, uint64_t txid) {
    SenderOptions options;
    options.database = "orders";
    options.node = "node-a";
    options.page_size = PageSize(4096);
    auto sender = std::make_unique<Sender>(log, options);
    EXPECT_TRUE(sender->Lead(LogHead(), lineage_, bus::Epoch(), txid == 0 ? Position() : At(txid), {}).ok());
    return sender;
  }

  Status Send(uint64_t min_txid, uint64_t max_txid, Origin origin = Origin::kCommit) {
    TRY(sender_->SendLtx(SomeLtx(min_txid, max_txid, origin), At(max_txid), {}));
    return sender_->Flush({});
  }
  bus::Envelope Stored(uint64_t txid, uint32_t chunk_index, bool last) const {
    bus::Envelope envelope;
    envelope.header.database = "orders";
    envelope.header.min_txid = Txid(txid);
    envelope.header.position = last ? At(txid) : Position{Txid(txid), Checksum(0)};
    envelope.header.page_size = PageSize(4096);
    bus::Chunk chunk;
    chunk.entry = SomeLtx(txid, txid);
    chunk.entry.ltx.clear();
    chunk.index = chunk_index;
    chunk.last = last;
    chunk.data = "LTX1";
    chunk.ltx_bytes = last ? 4 * (chunk_index + 1) : 0;
    envelope.body = std::move(chunk);
    return envelope;
  }

  // What the log holds: "5-6", "7.0" for chunk 0 of TXID 7, "hb".
  std::vector<std::string> Held(bus::Log& log) {
    std::vector<std::string> held;
    Result<bus::LogInfo> info = log.Info();
    for (bus::StreamSeq seq(1); info.ok() && seq <= info->last_seq; seq = seq.Next()) {
      Result<std::optional<bus::Message>> message = log.Get(seq);
      if (!message.ok() || !*message) continue;
      Result<bus::Envelope> envelope = bus::Decode((*message)->payload);
      if (!envelope.ok()) continue;
      if (std::holds_alternative<bus::Heartbeat>(envelope->body)) held.emplace_back("hb");
      if (const auto* chunk = std::get_if<bus::Chunk>(&envelope->body)) {
        held.push_back(std::to_string(chunk->entry.max_txid.raw()) + "." + std::to_string(chunk->index));
      }
      if (const auto* commits = std::get_if<bus::Commits>(&envelope->body)) {
        held.push_back(std::to_string(commits->entries.front().min_txid.raw()) + "-" +
                       std::to_string(commits->entries.back().max_txid.raw()));
      }
    }
    return held;
  }
  std::vector<std::string> Held() {
    EXPECT_TRUE(sender_->WaitAllAcked(DeadlineIn(seconds(20))).ok());
    return Held(*log_);
  }

  testing::TempDir dir_;
  const bus::Lineage lineage_ = bus::Lineage::Random();
  std::unique_ptr<bus::Log> log_;
  std::unique_ptr<Sender> sender_;
};

class NewLogTest : public SenderTest {
 protected:
  NewLogTest() : SenderTest(0) {}
};

TEST_F(SenderTest, CommitsGoOnWhereTheLogEnds) {
  EXPECT_TRUE(Send(5, 5).ok());
  EXPECT_TRUE(Send(6, 9, Origin::kRange).ok());
  EXPECT_TRUE(Send(10, 5000, Origin::kDelta).ok());
  EXPECT_THAT(Held(), ElementsAre("5-5", "6-9", "10-5000"));
  EXPECT_EQ(sender_->acked_position(), At(5000));
}

TEST_F(SenderTest, AHoleIsRefusedAndNothingOfItIsSent) {
  EXPECT_TRUE(Send(5, 5).ok());
  const Status hole = Send(7, 7);
  ASSERT_EQ(hole.ok() ? Errc::kInvalid : hole.code(), Errc::kGap);
  EXPECT_THAT(hole.error().message(), HasSubstr("does not follow on TXID 0000000000000005"));
  EXPECT_EQ(Send(5, 5).code(), Errc::kGap);
  EXPECT_TRUE(Send(6, 6).ok());
  EXPECT_THAT(Held(), ElementsAre("5-5", "6-6"));
}

TEST_F(SenderTest, AHoleInsideAMessageIsOneToo) {
  ASSERT_TRUE(sender_->SendLtx(SomeLtx(5, 5), At(5), {}).ok());
  ASSERT_TRUE(sender_->SendLtx(SomeLtx(7, 7), At(7), {}).ok());
  EXPECT_EQ(sender_->Flush({}).code(), Errc::kGap);
  EXPECT_THAT(Held(), ElementsAre());
}

// A backlog that was being sent, and commits made meanwhile that were gathered into the middle of it.
TEST_F(SenderTest, NewerCommitsCannotOvertakeWhatIsStored) {
  auto commits = [&](uint64_t txid) {
    bus::Envelope envelope = Stored(txid, 0, true);
    envelope.body = bus::Commits{{SomeLtx(txid, txid)}};
    return envelope;
  };
  EXPECT_TRUE(sender_->SendStored(commits(5), {}).ok());
  EXPECT_EQ(Send(8, 8).code(), Errc::kGap);
  EXPECT_TRUE(sender_->SendStored(commits(6), {}).ok());
  EXPECT_TRUE(sender_->SendStored(commits(7), {}).ok());
  EXPECT_TRUE(Send(8, 8).ok());
  EXPECT_THAT(Held(), ElementsAre("5-5", "6-6", "7-7", "8-8"));
}

TEST_F(SenderTest, ChunksOfOneLtxFollowOnEachOther) {
  EXPECT_TRUE(sender_->SendStored(Stored(5, 0, false), {}).ok());
  EXPECT_EQ(sender_->SendStored(Stored(5, 2, false), {}).code(), Errc::kGap);
  EXPECT_EQ(sender_->SendStored(Stored(6, 1, true), {}).code(), Errc::kGap);
  EXPECT_TRUE(sender_->SendHeartbeat(At(4), {}).ok());
  EXPECT_TRUE(sender_->SendStored(Stored(5, 1, true), {}).ok());
  EXPECT_TRUE(Send(6, 6).ok());
  EXPECT_THAT(Held(), ElementsAre("5.0", "hb", "5.1", "6-6"));
}

TEST_F(SenderTest, AnLtxThatBreaksOffIsSentAnewFromItsBeginning) {
  EXPECT_TRUE(sender_->SendStored(Stored(5, 0, false), {}).ok());
  EXPECT_TRUE(Send(5, 5).ok());
  EXPECT_EQ(sender_->SendStored(Stored(5, 1, true), {}).code(), Errc::kGap);
  EXPECT_TRUE(sender_->SendStored(Stored(6, 0, false), {}).ok());
  EXPECT_TRUE(sender_->SendStored(Stored(6, 0, false), {}).ok());
  EXPECT_TRUE(sender_->SendStored(Stored(6, 1, true), {}).ok());
  EXPECT_THAT(Held(), ElementsAre("5.0", "5-5", "6.0", "6.0", "6.1"));
}

TEST_F(SenderTest, ALargeLtxIsCutAndCountsWhenItIsWhole) {
  Result<ltx::ByteSink*> sink = sender_->BeginChunks(SomeLtx(5, 5), {});
  ASSERT_EQ(sink.ok() ? Errc::kInvalid : sink.code(), Errc::kInvalid);  // its bytes come through the sink alone
  bus::Entry entry = SomeLtx(5, 5);
  entry.ltx.clear();
  sink = sender_->BeginChunks(std::move(entry), {});
  ASSERT_TRUE(sink.ok());
  const std::string bytes((512 << 10) + 1, 'x');
  ASSERT_TRUE((*sink)->Write(AsBytes(bytes)).ok());
  ASSERT_TRUE(sender_->WaitAllAcked(DeadlineIn(seconds(20))).ok());
  EXPECT_EQ(sender_->acked(), Txid());
  ASSERT_TRUE(sender_->FinishChunks(At(5), 1).ok());
  EXPECT_THAT(Held(), ElementsAre("5.0", "5.1"));
  EXPECT_EQ(sender_->acked_position(), At(5));
}

TEST_F(SenderTest, ASnapshotStandsAnywhereButBehindTheEnd) {
  EXPECT_TRUE(Send(5, 5).ok());
  EXPECT_TRUE(Send(1, 5, Origin::kSnapshot).ok());
  EXPECT_TRUE(Send(6, 6).ok());
  EXPECT_EQ(Send(1, 5, Origin::kSnapshot).code(), Errc::kGap);
}

TEST_F(NewLogTest, ANewLogBeginsWithASnapshot) {
  EXPECT_EQ(Send(1, 1).code(), Errc::kGap);
  EXPECT_TRUE(Send(1, 1, Origin::kSnapshot).ok());
  EXPECT_TRUE(Send(2, 2).ok());
}

TEST_F(SenderTest, ACopyEndsAtWhatItCannotGoOnWith) {
  std::unique_ptr<bus::Log> copy_log = Open("copy");
  std::unique_ptr<Sender> copy = Lead(*copy_log, 4);
  sender_->CopyTo(copy.get());
  EXPECT_TRUE(Send(5, 5).ok());
  EXPECT_TRUE(sender_->copying());
  sender_->CopyTo(nullptr);
  EXPECT_TRUE(Send(6, 6).ok());
  sender_->CopyTo(copy.get());
  EXPECT_TRUE(Send(7, 7).ok());
  EXPECT_FALSE(sender_->copying());
  EXPECT_THAT(Held(), ElementsAre("5-5", "6-6", "7-7"));
  EXPECT_TRUE(copy->WaitAllAcked(DeadlineIn(seconds(20))).ok());
  EXPECT_THAT(Held(*copy_log), ElementsAre("5-5"));
}

}  // namespace
}  // namespace runnel::publisher
