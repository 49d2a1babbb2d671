#include "subscriber/archive/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "subscriber/archive/admission.h"
#include "subscriber/archive/lease.h"

namespace runnel::archive {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Moments are seconds behind the start of a day, so that all windows begin there.
CaptureTime At(int64_t seconds) { return CaptureTime(std::chrono::hours(24 * 20000)) + std::chrono::seconds(seconds); }

ArchivedObject Object(ObjectKind kind, uint8_t level, uint64_t min, uint64_t max, int64_t seconds) {
  ArchivedObject object;
  object.name = {kind, level, Txid(min), Txid(max)};
  object.checksum = Checksum(Checksum::kFlag | max);
  object.captured_at = At(seconds);
  object.bytes = 1000;
  return object;
}
ArchivedObject Level(uint8_t level, uint64_t min, uint64_t max, int64_t seconds) {
  return Object(ObjectKind::kLevel, level, min, max, seconds);
}
ArchivedObject Segment(uint64_t min, uint64_t max, int64_t seconds, uint64_t last_seq = 0) {
  ArchivedObject object = Object(ObjectKind::kSegment, 0, min, max, seconds);
  object.last_seq = bus::StreamSeq(last_seq);
  return object;
}
ArchivedObject Condemned(ArchivedObject object, int64_t seconds) {
  object.condemned_at = At(seconds);
  return object;
}

Manifest Holding(std::vector<ArchivedObject> objects) {
  Manifest manifest;
  manifest.page_size = PageSize(4096);
  for (ArchivedObject& object : objects) {
    if (object.name.max_txid > manifest.position.txid) manifest.position = object.position();
    manifest.Insert(std::move(object));
  }
  return manifest;
}

std::vector<std::string> Names(const std::optional<Job>& job) {
  std::vector<std::string> names;
  if (!job) return names;
  for (const ArchivedObject& input : job->inputs) {
    names.push_back(std::to_string(input.name.level) + ":" + std::to_string(input.name.min_txid.raw()) + "-" +
                    std::to_string(input.name.max_txid.raw()));
  }
  return names;
}
std::vector<std::string> Names(const std::vector<ObjectName>& objects) {
  std::vector<std::string> names;
  for (const ObjectName& name : objects) {
    names.push_back((name.kind == ObjectKind::kSegment ? "s" : std::to_string(name.level)) + ":" +
                    std::to_string(name.min_txid.raw()) + "-" + std::to_string(name.max_txid.raw()));
  }
  return names;
}

TEST(PlanLevel, TakesWhatIsOfAWindowThatHasEnded) {
  Manifest manifest = Holding({Level(9, 1, 1, 0), Level(0, 2, 5, 5), Level(0, 6, 9, 29), Level(0, 10, 12, 31)});
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 1, At(29))), IsEmpty());
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 1, At(30))), ElementsAre("0:2-5", "0:6-9"));
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 1, At(60))), ElementsAre("0:2-5", "0:6-9", "0:10-12"));
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 2, At(6000))), IsEmpty());
}

TEST(PlanLevel, GoesOnWhereItsLevelEnds) {
  Manifest manifest = Holding({Level(0, 2, 5, 5), Level(0, 6, 9, 40), Level(1, 2, 5, 5)});
  std::optional<Job> job = PlanLevel(manifest, {}, 1, At(70));
  EXPECT_THAT(Names(job), ElementsAre("0:6-9"));
  EXPECT_EQ(job->output, (ObjectName{ObjectKind::kLevel, 1, Txid(6), Txid(9)}));
}

TEST(PlanLevel, StopsAtAHole) {
  Manifest manifest = Holding({Level(0, 2, 5, 5), Level(0, 20, 29, 6), Level(9, 1, 19, 6)});
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 1, At(70))), ElementsAre("0:2-5"));
  manifest.Insert(Level(1, 2, 5, 5));
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 1, At(70))), ElementsAre("0:20-29"));
}

TEST(PlanLevel, TakesWhatOverlaps) {
  Manifest manifest = Holding({Level(0, 2, 5, 5), Level(0, 4, 1048580, 6)});
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 1, At(70))), ElementsAre("0:2-5", "0:4-1048580"));
}

TEST(PlanLevel, IgnoresWhatIsCondemned) {
  Manifest manifest = Holding({Condemned(Level(0, 2, 5, 5), 6), Level(0, 6, 9, 6)});
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 1, At(70))), ElementsAre("0:6-9"));
}

TEST(PlanLevel, DoesNotWaitForAClockThatIsAhead) {
  Manifest manifest = Holding({Level(0, 2, 5, 9000)});
  EXPECT_THAT(Names(PlanLevel(manifest, {}, 1, At(70))), ElementsAre("0:2-5"));
}

TEST(PlanLevel, TakesAFullMergeAtOnce) {
  std::vector<ArchivedObject> many;
  const uint32_t inputs_max = InputsMax(PageSize(4096));
  for (uint64_t i = 0; i < inputs_max + 10; ++i) many.push_back(Level(0, 2 + i, 2 + i, 5));
  EXPECT_EQ(Names(PlanLevel(Holding(many), {}, 1, At(6))).size(), inputs_max);
  many.resize(inputs_max - 1);
  EXPECT_EQ(Names(PlanLevel(Holding(many), {}, 1, At(6))).size(), 0u);
}

TEST(InputsMax, KeepsMergesSmall) {
  for (uint32_t page_size : {512u, 4096u, 65536u}) {
    const uint64_t inputs = InputsMax(PageSize(page_size));
    EXPECT_GE(inputs, 16u);
    EXPECT_LE(inputs * 3 * page_size, 48u << 20);
  }
}

TEST(PlanChain, TakesTheLongestSteps) {
  Manifest manifest = Holding({Level(9, 1, 4, 0), Level(0, 2, 5, 1), Level(0, 6, 9, 2), Level(0, 10, 12, 3),
                               Level(1, 2, 9, 2), Level(0, 13, 13, 4)});
  Result<std::vector<ArchivedObject>> chain = PlanChain(manifest, Txid(4), Txid(13));
  ASSERT_TRUE(chain.ok());
  ASSERT_EQ(chain->size(), 3u);
  EXPECT_EQ((*chain)[0].name, (ObjectName{ObjectKind::kLevel, 1, Txid(2), Txid(9)}));
  EXPECT_EQ(PlanChain(manifest, Txid(4), Txid(14)).code(), Errc::kGap);
  EXPECT_EQ(PlanChain(manifest, Txid(4), Txid(11)).code(), Errc::kGap);
}

TEST(PlanSnapshot, IsDueWithItsWindow) {
  Manifest manifest = Holding({Level(9, 1, 4, 100), Level(0, 5, 9, 200)});
  EXPECT_THAT(Names(PlanSnapshot(manifest, {}, At(86399), false)), IsEmpty());
  EXPECT_THAT(Names(PlanSnapshot(manifest, {}, At(86400), false)), ElementsAre("9:1-4", "0:5-9"));
  EXPECT_THAT(Names(PlanSnapshot(manifest, {}, At(300), true)), ElementsAre("9:1-4", "0:5-9"));
}

TEST(PlanSnapshot, IsNotMadeTwiceOfOnePosition) {
  EXPECT_THAT(Names(PlanSnapshot(Holding({Level(9, 1, 4, 100)}), {}, At(100000), true)), IsEmpty());
}

TEST(PlanSnapshot, ProvesWhatCouldNotBeCheckedBefore) {
  Manifest manifest = Holding({Level(9, 1, 4, 100), Level(0, 5, 9, 200)});
  manifest.unproven_txid = Txid(9);
  EXPECT_THAT(Names(PlanSnapshot(manifest, {}, At(300), false)), ElementsAre("9:1-4", "0:5-9"));
  manifest.Insert(Level(9, 1, 9, 300));
  EXPECT_THAT(Names(PlanSnapshot(manifest, {}, At(300), false)), IsEmpty());
}

TEST(PlanSnapshot, CannotCrossAHole) {
  Manifest manifest = Holding({Level(9, 1, 4, 100), Level(0, 8, 9, 200)});
  EXPECT_THAT(Names(PlanSnapshot(manifest, {}, At(90000), true)), IsEmpty());
}

TEST(PlanSegments, JoinsAnHourThatHasEnded) {
  Manifest manifest = Holding({Segment(2, 5, 10), Segment(6, 9, 3599), Segment(10, 10, 3601)});
  EXPECT_THAT(Names(PlanSegments(manifest, At(3599))), IsEmpty());
  std::optional<Job> job = PlanSegments(manifest, At(3700));
  EXPECT_THAT(Names(job), ElementsAre("0:2-5", "0:6-9"));
  EXPECT_EQ(job->output, (ObjectName{ObjectKind::kSegment, 0, Txid(2), Txid(9)}));
}

TEST(PlanSegments, LeavesWhatIsAlone) {
  EXPECT_THAT(Names(PlanSegments(Holding({Segment(2, 5, 10), Segment(6, 9, 4000)}), At(99999))), IsEmpty());
  // A hole, and an object that is large already.
  EXPECT_THAT(Names(PlanSegments(Holding({Segment(2, 5, 10), Segment(9, 9, 11)}), At(99999))), IsEmpty());
  ArchivedObject large = Segment(6, 9, 11);
  large.bytes = uint64_t{1} << 30;
  EXPECT_THAT(Names(PlanSegments(Holding({Segment(2, 5, 10), large}), At(99999))), IsEmpty());
}

constexpr int64_t kDay = 86400;

TEST(PlanRetention, KeepsTheSnapshotFromWhichTheOldestMomentIsRestored) {
  Manifest manifest = Holding({Level(9, 1, 10, 0), Level(9, 1, 20, kDay), Level(9, 1, 30, 2 * kDay),
                               Level(3, 2, 20, kDay), Level(3, 21, 30, 2 * kDay)});
  ArchiveConfig config;
  config.retention = std::chrono::hours(24);
  EXPECT_THAT(Names(PlanRetention(manifest, config, At(kDay))), IsEmpty());
  EXPECT_THAT(Names(PlanRetention(manifest, config, At(2 * kDay - 1))), IsEmpty());
  EXPECT_THAT(Names(PlanRetention(manifest, config, At(2 * kDay))), ElementsAre("3:2-20", "9:1-10"));
  EXPECT_THAT(Names(PlanRetention(manifest, config, At(900 * kDay))),
              ElementsAre("3:2-20", "3:21-30", "9:1-10", "9:1-20"));
}

TEST(PlanRetention, KeepsSegmentsAWindowLongerThanAsked) {
  Manifest manifest = Holding({Segment(2, 5, 0), Segment(6, 9, 3600), Segment(10, 11, 7200)});
  ArchiveConfig config;
  config.segment_retention = std::chrono::hours(2);
  EXPECT_THAT(Names(PlanRetention(manifest, config, At(3 * 3600))), IsEmpty());
  EXPECT_THAT(Names(PlanRetention(manifest, config, At(3 * 3600 + 1))), ElementsAre("s:2-5"));
  EXPECT_THAT(Names(PlanRetention(manifest, config, At(99 * kDay))), ElementsAre("s:2-5", "s:6-9"));
}

TEST(PlanDeletes, WaitsForReaders) {
  Manifest manifest =
      Holding({Condemned(Level(0, 2, 5, 0), 0), Condemned(Level(1, 2, 9, 0), 0), Condemned(Level(2, 2, 9, 0), 0),
               Condemned(Level(9, 1, 2, 0), 0), Condemned(Segment(2, 5, 0), 0), Level(3, 2, 9, 0)});
  EXPECT_THAT(Names(PlanDeletes(manifest, {}, At(299))), IsEmpty());
  EXPECT_THAT(Names(PlanDeletes(manifest, {}, At(300))), ElementsAre("0:2-5"));
  EXPECT_THAT(Names(PlanDeletes(manifest, {}, At(600))), ElementsAre("0:2-5", "9:1-2", "s:2-5"));
  EXPECT_THAT(Names(PlanDeletes(manifest, {}, At(3600))), ElementsAre("0:2-5", "1:2-9", "9:1-2", "s:2-5"));
  EXPECT_THAT(Names(PlanDeletes(manifest, {}, At(kDay))), ElementsAre("0:2-5", "1:2-9", "2:2-9", "9:1-2", "s:2-5"));
}

TEST(PlanTrim, GivesUpOnlyWhatIsArchivedAndOld) {
  Manifest manifest = Holding({Level(9, 1, 1, 0), Segment(2, 5, 100, 40), Segment(6, 9, 200, 80)});
  ArchiveConfig config;
  config.bus.retention = std::chrono::hours(1);
  EXPECT_EQ(PlanTrim(manifest, config, At(3700)), bus::StreamSeq());
  EXPECT_EQ(PlanTrim(manifest, config, At(3701)), bus::StreamSeq(41));
  EXPECT_EQ(PlanTrim(manifest, config, At(99999)), bus::StreamSeq(81));
  // Of a log that was made again, and without a snapshot, nothing.
  EXPECT_EQ(PlanTrim(Holding({Level(9, 1, 1, 0), Segment(2, 5, 100, 0)}), config, At(99999)), bus::StreamSeq());
  EXPECT_EQ(PlanTrim(Holding({Segment(2, 5, 100, 40)}), config, At(99999)), bus::StreamSeq());
  // Of what is not proven by a snapshot yet, only what lies before it.
  Manifest unproven = Holding({Level(9, 1, 5, 0), Segment(2, 5, 100, 40), Segment(6, 9, 200, 80)});
  unproven.unproven_txid = Txid(9);
  EXPECT_EQ(PlanTrim(unproven, config, At(99999)), bus::StreamSeq(41));
}

TEST(Admit, IsATable) {
  using bus::Origin;
  const Position ours = {Txid(7), Checksum(Checksum::kFlag | 7)};
  const Position other = {Txid(7), Checksum(Checksum::kFlag | 8)};
  struct Case {
    Position ours;
    uint64_t min, max;
    Origin origin;
    Admission expected;
  };
  for (const Case& c : std::vector<Case>{
           {ours, 8, 8, Origin::kCommit, Admission::kNext},
           {ours, 8, 20, Origin::kRange, Admission::kNext},
           {other, 8, 8, Origin::kCommit, Admission::kFork},
           {other, 8, 20, Origin::kRange, Admission::kFork},
           {ours, 7, 7, Origin::kCommit, Admission::kDuplicate},
           {ours, 1, 7, Origin::kSnapshot, Admission::kDuplicate},
           {ours, 1, 8, Origin::kSnapshot, Admission::kImage},
           {ours, 9, 9, Origin::kCommit, Admission::kGap},
           {ours, 9, 99, Origin::kDelta, Admission::kGap},
           {ours, 5, 1048580, Origin::kDelta, Admission::kOverlaps},
           {ours, 5, 9, Origin::kRange, Admission::kOverlaps},
           {ours, 7, 8, Origin::kCommit, Admission::kFork},
           {Position(), 2, 2, Origin::kCommit, Admission::kGap},
           {Position(), 1, 1, Origin::kSnapshot, Admission::kImage},
       }) {
    ltx::Header header;
    header.min_txid = Txid(c.min);
    header.max_txid = Txid(c.max);
    header.pre_apply_checksum = Checksum(Checksum::kFlag | 7);
    EXPECT_EQ(Admit(c.ours, header, c.origin), c.expected) << c.min << "-" << c.max;
  }
}

TEST(Lease, IsFreeWhenItHasRunOutOrItsHolderIsGone) {
  LeaseRecord record;
  record.expires_at = At(100);
  EXPECT_EQ(JudgeLease(record, At(100), false), LeaseClaim::kHeld);
  EXPECT_EQ(JudgeLease(record, At(105), false), LeaseClaim::kHeld);  // clocks differ
  EXPECT_EQ(JudgeLease(record, At(106), false), LeaseClaim::kFree);
  EXPECT_EQ(JudgeLease(record, At(0), true), LeaseClaim::kFree);
  record.expires_at = WallTime();  // let go
  EXPECT_EQ(JudgeLease(record, At(0), false), LeaseClaim::kFree);
}

TEST(Lease, ComesBackAsItWasAndNothingElseDoes) {
  LeaseRecord record;
  record.owner = "00ff";
  record.node = "node \"a\"";
  record.boot = "b";
  record.pid = 7;
  record.pid_started = 8;
  record.expires_at = At(100);
  const std::string text = EncodeLease(record);
  Result<LeaseRecord> back = DecodeLease(text);
  ASSERT_TRUE(back.ok());
  EXPECT_EQ(*back, record);
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(DecodeLease(text.substr(0, size)).ok()) << size;
  for (const char* other : {"", "{}", "[]", "7", "{\"owner\":1}", "null"}) EXPECT_FALSE(DecodeLease(other).ok());
}

}  // namespace
}  // namespace runnel::archive
