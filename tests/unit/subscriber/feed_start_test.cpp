// How a feed begins with an image, and how far behind what it shows is.
#include <gtest/gtest.h>

#include "subscriber/feed_runner.h"

namespace runnel::subscriber {
namespace {

using feed::Phase;
using Kind = FeedStart::Kind;
using std::chrono::milliseconds;

feed::Token At(uint64_t txid, bool snapshot) {
  feed::Token token;
  token.lineage[0] = 3;
  token.txid = Txid(txid);
  token.snapshot = snapshot;
  token.ordinal = 5;
  return token;
}

TEST(FeedStartTest, FollowsFromWhatWasAskedForAndWhereTheImageIs) {
  struct Case {
    FeedStart start;
    uint64_t image;
    uint64_t newest;
    Phase phase;
    bool snapshot_follows;
    uint64_t target;
  };
  const Case cases[] = {
      // Rows of the first image, whatever came later.
      {{Kind::kEarliest, {}}, 3, 9, Phase::kSnapshot, false, 3},
      // Rows of the newest image, which may have to be reached first.
      {{Kind::kResume, {}}, 9, 9, Phase::kSnapshot, false, 9},
      {{Kind::kResume, {}}, 3, 9, Phase::kCatchUp, true, 9},
      // No rows: what comes behind the newest commit.
      {{Kind::kLatest, {}}, 9, 9, Phase::kStream, false, 9},
      {{Kind::kLatest, {}}, 3, 9, Phase::kCatchUp, false, 9},
      // Behind an event of commit 10: from the image before it.
      {{Kind::kToken, At(10, false)}, 9, 9, Phase::kStream, false, 9},
      {{Kind::kToken, At(10, false)}, 3, 9, Phase::kCatchUp, false, 9},
      // Behind a row of the snapshot at commit 9: the rest of that snapshot.
      {{Kind::kToken, At(9, true)}, 9, 9, Phase::kSnapshot, false, 9},
      {{Kind::kToken, At(9, true)}, 3, 9, Phase::kCatchUp, true, 9},
  };
  for (const Case& one : cases) {
    const feed::FeedState state = StateFor(one.start, Txid(one.image), Txid(one.newest));
    const std::string what =
        "kind " + std::to_string(static_cast<int>(one.start.kind)) + " at " + std::to_string(one.image);
    EXPECT_EQ(state.phase, one.phase) << what;
    EXPECT_EQ(state.snapshot_follows, one.snapshot_follows) << what;
    EXPECT_EQ(state.target, Txid(one.target)) << what;
    EXPECT_EQ(state.delivered.has_value(), one.start.kind == Kind::kToken) << what;
  }
}

TEST(FeedSnapshotTest, LagsOnlyWhileSomethingNewerIsKnown) {
  const auto now = std::chrono::system_clock::time_point(milliseconds(10000));
  FeedSnapshot snapshot;
  EXPECT_EQ(snapshot.Lag(now), milliseconds::max());
  snapshot.feeder.position.txid = Txid(5);
  snapshot.feeder.captured_ms = 4000;
  snapshot.head.txid = Txid(5);
  EXPECT_EQ(snapshot.Lag(now), milliseconds(0));
  EXPECT_EQ(snapshot.LagCommits(), 0u);
  snapshot.head.txid = Txid(8);
  EXPECT_EQ(snapshot.Lag(now), milliseconds(6000));
  EXPECT_EQ(snapshot.LagCommits(), 3u);
  snapshot.feeder.captured_ms = 20000;  // a publisher whose clock is ahead
  EXPECT_EQ(snapshot.Lag(now), milliseconds(0));
}

}  // namespace
}  // namespace runnel::subscriber
