// Finding places by TXID, over a real log of segment files.
#include "bus/find.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "bus/chunker.h"
#include "tests/support/scratch_log.h"
#include "tests/support/temp_dir.h"

namespace runnel::bus {
namespace {

class FindTest : public ::testing::Test {
 protected:
  Header MakeHeader(uint64_t min_txid, uint64_t max_txid) const {
    Header header;
    header.lineage = lineage_;
    header.epoch = epoch_;
    header.database = "orders";
    header.min_txid = Txid(min_txid);
    header.position = Position{Txid(max_txid), Checksum(Checksum::kFlag | max_txid)};
    header.page_size = PageSize(4096);
    return header;
  }
  // Each returns the sequence of what it appended.
  StreamSeq Append(const Envelope& envelope) { return AppendRaw(Encode(envelope)); }
  StreamSeq AppendRaw(std::string payload) { return scratch_.Append(std::move(payload)); }
  StreamSeq Commits(uint64_t min_txid, uint64_t max_txid) {
    bus::Commits commits;
    for (uint64_t txid = min_txid; txid <= max_txid; ++txid) {
      Entry entry;
      entry.min_txid = entry.max_txid = Txid(txid);
      entry.ltx = "LTX1";
      commits.entries.push_back(std::move(entry));
    }
    return Append({MakeHeader(min_txid, max_txid), std::move(commits)});
  }
  StreamSeq SmallSnapshot(uint64_t txid) {
    Entry entry;
    entry.min_txid = Txid(1);
    entry.max_txid = Txid(txid);
    entry.origin = Origin::kSnapshot;
    entry.ltx = "LTX1";
    return Append({MakeHeader(1, txid), bus::Commits{{std::move(entry)}}});
  }
  // `count` of `of` chunks of one file, and what `before_last` appends; the sequence of the first.
  StreamSeq Chunks(uint64_t min_txid, uint64_t max_txid, Origin origin, size_t count, size_t of,
                   const std::function<void()>& before_last = {}) {
    Chunker::Options options;
    options.header = MakeHeader(min_txid, max_txid);
    options.entry.min_txid = Txid(min_txid);
    options.entry.max_txid = Txid(max_txid);
    options.entry.origin = origin;
    options.data_bytes = 10;
    StreamSeq first = scratch_.next();
    size_t emitted = 0;
    Result<Chunker> chunker = Chunker::Make(options, [&](const Envelope& chunk) {
      if (before_last && emitted + 1 == of) before_last();
      if (emitted++ < count) Append(chunk);
      return Ok();
    });
    EXPECT_TRUE(chunker->Write(AsBytes(std::string(of * 10, 'x'))).ok());
    EXPECT_TRUE(chunker->Finish(Checksum(Checksum::kFlag | max_txid), 1).ok());
    return first;
  }
  StreamSeq SendHeartbeat(uint64_t txid) { return Append({MakeHeader(txid + 1, txid), Heartbeat{}}); }
  StreamSeq Refer(uint64_t txid, uint64_t image) {
    const Position position{Txid(image), Checksum(Checksum::kFlag | image)};
    return Append({MakeHeader(txid + 1, txid), SnapshotRef{"file:///archive", "ltx/9/image.ltx", position}});
  }
  StreamSeq Marker(uint64_t txid) { return Append({MakeHeader(txid + 1, txid), TakeOverMarker{}}); }

  void Settle() { scratch_.Settle(); }
  StreamSeq Find(uint64_t txid) {
    Settle();
    Result<std::optional<StreamSeq>> found = FindTxid(*log_, Txid(txid));
    EXPECT_TRUE(found.ok()) << txid << ": " << found.error().message();
    return found.ok() && found->has_value() ? **found : StreamSeq(0);
  }
  Errc FindError(uint64_t txid) {
    Settle();
    Result<std::optional<StreamSeq>> found = FindTxid(*log_, Txid(txid));
    EXPECT_FALSE(found.ok()) << txid;
    return found.ok() ? Errc::kInvalid : found.code();
  }
  std::optional<SnapshotPlace> Snapshot() {
    Settle();
    Result<std::optional<SnapshotPlace>> found = FindLastSnapshot(*log_);
    EXPECT_TRUE(found.ok()) << found.error().message();
    return found.ok() ? *found : std::nullopt;
  }

  std::optional<ReferencePlace> Reference() {
    Settle();
    Result<std::optional<ReferencePlace>> found = FindLastReference(*log_);
    EXPECT_TRUE(found.ok()) << found.error().message();
    return found.ok() ? *found : std::nullopt;
  }

  runnel::testing::TempDir dir_;
  runnel::testing::ScratchLog scratch_{dir_.path() / "orders", "sync=none&segment_bytes=65536"};
  Log* const log_ = &scratch_.log();
  Lineage lineage_ = Lineage::Random();
  Epoch epoch_{1};
};

TEST_F(FindTest, EmptyLogHoldsNothing) {
  EXPECT_EQ(Find(1), StreamSeq(0));
  EXPECT_FALSE(Snapshot().has_value());
}

TEST_F(FindTest, FindsTheMessageOfATxidAndNothingBeyondTheLast) {
  Marker(0);
  StreamSeq a = Commits(1, 3);
  SendHeartbeat(3);
  SendHeartbeat(3);
  StreamSeq b = Commits(4, 4);
  StreamSeq c = Commits(5, 9);
  SendHeartbeat(9);
  for (uint64_t txid : {1, 2, 3}) EXPECT_EQ(Find(txid), a);
  EXPECT_EQ(Find(4), b);
  for (uint64_t txid : {5, 9}) EXPECT_EQ(Find(txid), c);
  EXPECT_EQ(Find(10), StreamSeq(0));
}

TEST_F(FindTest, FileInChunksIsReadFromItsFirstOne) {
  Commits(1, 4);
  StreamSeq first = Chunks(5, 5, Origin::kCommit, 7, 7);
  StreamSeq behind = Commits(6, 6);
  EXPECT_EQ(Find(5), first);
  EXPECT_EQ(Find(6), behind);
}

TEST_F(FindTest, FileThatWasStartedOverIsFoundWhereItIsWhole) {
  Commits(1, 4);
  StreamSeq begun = Chunks(5, 5, Origin::kCommit, 3, 7);
  epoch_ = epoch_.Next();
  Marker(4);
  StreamSeq whole = Chunks(5, 5, Origin::kCommit, 7, 7);
  Commits(6, 6);
  StreamSeq found = Find(5);
  EXPECT_TRUE(found == begun || found == whole) << found.raw();  // both lead to the whole file
}

TEST_F(FindTest, TrimmedTxidIsAGapThatSaysWhatIsThere) {
  Commits(1, 4);
  Chunks(5, 5, Origin::kCommit, 7, 7);
  StreamSeq behind = Commits(6, 6);
  Settle();
  ASSERT_TRUE(log_->TrimBefore(StreamSeq(4)).ok());  // in the middle of the chunks
  EXPECT_EQ(FindError(5), Errc::kGap);
  EXPECT_EQ(FindError(2), Errc::kGap);
  EXPECT_EQ(Find(6), behind);
  EXPECT_THAT(FindTxid(*log_, Txid(5)).error().message(), ::testing::HasSubstr("begins with TXID 0000000000000006"));
}

TEST_F(FindTest, OnlyHeartbeatsLeftIsAGap) {
  Commits(1, 4);
  SendHeartbeat(4);
  Settle();
  ASSERT_TRUE(log_->TrimBefore(StreamSeq(2)).ok());
  EXPECT_EQ(FindError(4), Errc::kGap);
  EXPECT_EQ(Find(5), StreamSeq(0));
}

TEST_F(FindTest, WhatAnOlderEpochGotInLateIsNoPlaceToStartAt) {
  epoch_ = Epoch(1);
  Commits(1, 4);
  epoch_ = Epoch(2);
  Marker(4);
  const StreamSeq six = Commits(5, 6);
  epoch_ = Epoch(1);
  Commits(7, 7);
  EXPECT_EQ(Find(6), six);
  EXPECT_EQ(Find(7), StreamSeq(0)) << "its own end is still to come";
  epoch_ = Epoch(2);
  const StreamSeq seven = Commits(7, 7);
  EXPECT_EQ(Find(7), seven);
}

TEST_F(FindTest, WhatAnOlderEpochGotInLateIsNoSnapshotAndBreaksNone) {
  epoch_ = Epoch(2);
  const StreamSeq good = SmallSnapshot(4);
  epoch_ = Epoch(1);
  SmallSnapshot(5);
  ASSERT_TRUE(Snapshot().has_value());
  EXPECT_EQ(Snapshot()->seq, good);

  epoch_ = Epoch(2);
  const StreamSeq whole = Chunks(1, 6, Origin::kSnapshot, 3, 3, [this] {
    epoch_ = Epoch(1);
    Commits(5, 5);
  });
  ASSERT_TRUE(Snapshot().has_value());
  EXPECT_EQ(Snapshot()->seq, whole);
}

// Also where the search begins with it, in the middle of the log.
TEST_F(FindTest, WhatAnOlderEpochGotInLateIsNoSnapshotAtTheEdgeOfAWindow) {
  for (int filler : {1021, 1022, 1023, 1024}) {
    epoch_ = Epoch(2 * static_cast<uint64_t>(filler));
    const StreamSeq good = SmallSnapshot(4);
    Marker(4);
    epoch_ = Epoch(epoch_.raw() - 1);
    SmallSnapshot(5);
    SmallSnapshot(6);
    epoch_ = epoch_.Next();
    for (int i = 0; i < filler; ++i) SendHeartbeat(4);
    ASSERT_TRUE(Snapshot().has_value()) << filler;
    EXPECT_EQ(Snapshot()->seq, good) << filler;
  }
}

TEST_F(FindTest, SnapshotServesEveryTxidBeforeIt) {
  Commits(1, 4);
  StreamSeq snapshot = SmallSnapshot(9);
  StreamSeq behind = Commits(10, 10);
  EXPECT_EQ(Find(5), snapshot);
  EXPECT_EQ(Find(9), snapshot);
  EXPECT_EQ(Find(10), behind);
}

TEST_F(FindTest, OlderLineageIsNotLookedAt) {
  Commits(1, 100);
  lineage_ = Lineage::Random();
  Marker(0);
  StreamSeq first = SmallSnapshot(20);
  Commits(21, 21);
  EXPECT_EQ(Find(15), first);
  EXPECT_EQ(Find(50), StreamSeq(0));
}

TEST_F(FindTest, UnreadableMessagesArePassedOver) {
  AppendRaw("not an envelope");
  StreamSeq a = Commits(1, 2);
  for (int i = 0; i < 20; ++i) AppendRaw("not an envelope");
  StreamSeq b = Commits(3, 3);
  EXPECT_EQ(Find(1), a);
  EXPECT_EQ(Find(3), b);
}

TEST_F(FindTest, RandomLogsAgreeWithALinearSearch) {
  std::mt19937 random(7);
  uint64_t txid = 0;
  std::vector<StreamSeq> place_of(1, StreamSeq(0));  // by TXID
  for (int i = 0; i < 800; ++i) {
    uint64_t count = random() % 4;
    if (count == 0) {
      SendHeartbeat(txid);
    } else if (random() % 8 == 0) {
      StreamSeq seq = Chunks(txid + 1, txid + count, Origin::kRange, 5, 5);
      place_of.resize(txid + count + 1, seq);
      txid += count;
    } else {
      StreamSeq seq = Commits(txid + 1, txid + count);
      place_of.resize(txid + count + 1, seq);
      txid += count;
    }
  }
  for (uint64_t t = 1; t <= txid; t += 7) ASSERT_EQ(Find(t), place_of[t]) << t;
  EXPECT_EQ(Find(txid + 1), StreamSeq(0));
}

TEST_F(FindTest, NewestCompleteSnapshotIsFoundHoweverFarBack) {
  Commits(1, 4);
  EXPECT_FALSE(Snapshot().has_value());
  StreamSeq small = SmallSnapshot(4);
  EXPECT_EQ(Snapshot()->seq, small);
  StreamSeq chunked = Chunks(1, 8, Origin::kSnapshot, 6, 6);
  Chunks(9, 9, Origin::kCommit, 4, 4);
  Chunks(1, 9, Origin::kSnapshot, 3, 6);  // not complete
  ASSERT_TRUE(Snapshot().has_value());
  EXPECT_EQ(Snapshot()->seq, chunked);
  EXPECT_EQ(Snapshot()->txid, Txid(8));
  epoch_ = epoch_.Next();
  Marker(9);
  for (int i = 0; i < 3000; ++i) SendHeartbeat(9);  // beyond the first window
  EXPECT_EQ(Snapshot()->seq, chunked);
}

TEST_F(FindTest, SnapshotAcrossTheEdgeOfAWindowIsFound) {
  for (int filler : {1018, 1019, 1020, 1021, 1022, 1023, 1024, 1025}) {
    StreamSeq seq = Chunks(1, 8, Origin::kSnapshot, 6, 6);
    for (int i = 0; i < filler; ++i) SendHeartbeat(8);
    ASSERT_TRUE(Snapshot().has_value()) << filler;
    EXPECT_EQ(Snapshot()->seq, seq) << filler;
  }
}

TEST_F(FindTest, ReferenceToAnOldImageMovesNoPlaceInTheLog) {
  Commits(1, 4);
  StreamSeq a = Commits(5, 8);
  Refer(8, 2);
  StreamSeq b = Commits(9, 9);
  Refer(9, 2);
  EXPECT_EQ(Find(6), a);
  EXPECT_EQ(Find(9), b);
  EXPECT_EQ(Find(10), StreamSeq(0));
  EXPECT_FALSE(Snapshot().has_value());
}

TEST_F(FindTest, NewestReferenceIsFoundHoweverFarBack) {
  EXPECT_FALSE(Reference().has_value());
  Commits(1, 4);
  EXPECT_FALSE(Reference().has_value());
  Refer(4, 2);
  StreamSeq newest = Refer(4, 3);
  for (int i = 0; i < 3000; ++i) SendHeartbeat(4);  // beyond the first window
  ASSERT_TRUE(Reference().has_value());
  EXPECT_EQ(Reference()->seq, newest);
  EXPECT_EQ(Reference()->ref.image.txid, Txid(3));
  EXPECT_EQ(Reference()->ref.url, "file:///archive");
  Append({MakeHeader(5, 4), SnapshotRef{"", "", Position()}});  // no reference at all
  EXPECT_EQ(Reference()->seq, newest);
  lineage_ = Lineage::Random();
  Marker(0);
  EXPECT_FALSE(Reference().has_value());
}

TEST_F(FindTest, ImagesAreLookedForOnlyAsFarBackAsTheNewestOne) {
  StreamSeq snapshot = SmallSnapshot(2);
  Commits(3, 3);
  Settle();
  EXPECT_EQ(FindLastImages(*log_)->snapshot->seq, snapshot);
  EXPECT_FALSE(FindLastImages(*log_)->reference.has_value());
  for (int i = 0; i < 3000; ++i) SendHeartbeat(3);
  StreamSeq reference = Refer(3, 3);
  Settle();
  Result<ImagePlaces> places = FindLastImages(*log_);
  ASSERT_TRUE(places.ok());
  EXPECT_FALSE(places->snapshot.has_value());
  EXPECT_EQ(places->reference->seq, reference);
  StreamSeq newer = SmallSnapshot(3);
  Settle();
  EXPECT_EQ(FindLastImages(*log_)->snapshot->seq, newer);
  EXPECT_EQ(FindLastImages(*log_)->reference->seq, reference);
}

TEST_F(FindTest, StopEndsTheSearch) {
  for (int i = 1; i < 100; ++i) Commits(static_cast<uint64_t>(i), static_cast<uint64_t>(i));
  Settle();
  std::stop_source stop;
  stop.request_stop();
  EXPECT_EQ(FindTxid(*log_, Txid(50), stop.get_token()).code(), Errc::kCancelled);
  EXPECT_EQ(FindLastSnapshot(*log_, stop.get_token()).code(), Errc::kCancelled);
}

}  // namespace
}  // namespace runnel::bus
