// The plan as tables: what lies in an archive, what is asked for, what is read.
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>
#include <string>

#include "subscriber/restore/plan.h"

namespace runnel::restore {
namespace {

constexpr uint64_t kSmall = 1000;

PlanObject Level(uint8_t level, uint64_t min, uint64_t max, uint64_t bytes = kSmall) {
  return {Txid(min), Txid(max), bytes, false, level};
}
PlanObject Segment(uint64_t min, uint64_t max, uint64_t bytes = kSmall) {
  return {Txid(min), Txid(max), bytes, true, 0};
}

// "9:1-10 0:11-11 s:12-14": what is read and how far.
std::string Text(const std::vector<PlanObject>& objects, const Result<std::vector<PlanStep>>& plan) {
  if (!plan.ok()) return plan.error().message();
  std::string text;
  for (const PlanStep& step : *plan) {
    const PlanObject& object = objects[step.object];
    text += (text.empty() ? "" : " ") + (object.segment ? "s" : std::to_string(object.level)) + ":" +
            std::to_string(object.min_txid.raw()) + "-" + std::to_string(step.upto.raw());
  }
  return text;
}

struct Case {
  const char* what;
  std::vector<PlanObject> objects;
  uint64_t target;
  const char* expected;
  uint64_t from = 0;
};

TEST(Plan, TakesTheFewestObjectsThatLeadToTheTarget) {
  const std::vector<PlanObject> tower = {Level(9, 1, 10),  Level(0, 8, 8),   Level(0, 9, 9),   Level(0, 10, 10),
                                         Level(0, 11, 11), Level(0, 12, 12), Level(0, 13, 13), Level(0, 14, 14),
                                         Level(1, 11, 13), Level(2, 1, 8)};
  const Case cases[] = {
      {"the snapshot alone", tower, 10, "9:1-10"},
      {"a level above skips the files below it", tower, 13, "9:1-10 1:11-13"},
      {"and then single files", tower, 14, "9:1-10 1:11-13 0:14-14"},
      {"within the level above: single files", tower, 12, "9:1-10 0:11-11 0:12-12"},
      {"before the snapshot: any whole image", tower, 9, "2:1-8 0:9-9"},
      {"a file that overlaps what is there", {Level(9, 1, 10), Level(1, 8, 14)}, 14, "9:1-10 1:8-14"},
      {"a segment up to the target", {Level(9, 1, 10), Segment(5, 40)}, 27, "9:1-10 s:5-27"},
      {"a segment that holds all", {Level(9, 1, 10), Segment(1, 40)}, 27, "s:1-27"},
      {"two segments", {Level(9, 1, 10), Segment(11, 20), Segment(21, 30)}, 25, "9:1-10 s:11-20 s:21-25"},
      {"from an image that is there", tower, 14, "1:11-13 0:14-14", 10},
      {"from within a level's range", tower, 13, "1:11-13", 11},
      {"nothing to do", tower, 12, "", 12},
  };
  for (const Case& one : cases) {
    EXPECT_EQ(Text(one.objects, PlanRestore(one.objects, Txid(one.target), Txid(one.from))), one.expected) << one.what;
  }
}

TEST(Plan, DoesNotReadALargeLogToSaveARequest) {
  const uint64_t gib = uint64_t{1} << 30;
  const std::vector<PlanObject> objects = {Level(9, 1, 1000, gib), Segment(1001, 9000, gib),
                                           Level(3, 1001, 8000, gib / 100), Level(2, 8001, 8900, gib / 100)};
  EXPECT_EQ(Text(objects, PlanRestore(objects, Txid(8950))), "9:1-1000 3:1001-8000 2:8001-8900 s:1001-8950");
}

TEST(Plan, SaysWhatCanBeReachedAroundATargetThatCannot) {
  const std::vector<PlanObject> objects = {Level(9, 1, 10), Level(1, 11, 20), Segment(31, 40), Level(9, 1, 35)};
  struct Row {
    uint64_t target, before, behind;  // 0: none
  };
  for (const Row& row : {Row{5, 0, 10}, {10, 10, 20}, {15, 10, 20}, {21, 20, 35}, {36, 36, 37}, {41, 40, 0}}) {
    const Reachable reachable = ReachableAround(objects, Txid(row.target));
    EXPECT_EQ(reachable.at_or_before.value_or(Txid()).raw(), row.before) << row.target;
    EXPECT_EQ(reachable.behind.value_or(Txid()).raw(), row.behind) << row.target;
  }
  EXPECT_EQ(PlanRestore(objects, Txid(15)).error().message(),
            "TXID 000000000000000f cannot be reached exactly; 000000000000000a is the nearest before it, "
            "0000000000000014 the next behind it");
  EXPECT_EQ(PlanRestore({}, Txid(15)).error().message(),
            "TXID 000000000000000f cannot be reached exactly; no TXID can be reached");
}

TEST(Plan, TellsTheNewestAndAGapBeforeLaterObjects) {
  EXPECT_EQ(*NewestReachable(std::vector{Level(9, 1, 10), Level(0, 11, 11)}), Txid(11));
  const Result<Txid> gap = NewestReachable(std::vector{Level(9, 1, 10), Level(0, 12, 12), Level(0, 13, 13)});
  EXPECT_EQ(gap.code(), Errc::kGap);
  EXPECT_NE(gap.error().message().find("between 000000000000000a and 000000000000000c"), std::string::npos);
  EXPECT_EQ(NewestReachable({}).code(), Errc::kNotFound);
  EXPECT_EQ(NewestReachable(std::vector{Level(0, 12, 12)}).code(), Errc::kNotFound);
}

// Against a search that tries everything, on random archives.
TEST(Plan, IsTheCheapestChain) {
  std::mt19937_64 random(3);
  for (int round = 0; round < 2000; ++round) {
    std::vector<PlanObject> objects;
    for (uint64_t i = 0, n = 1 + random() % 10; i < n; ++i) {
      const uint64_t min = 1 + random() % 12;
      objects.push_back(Level(0, min, min + random() % 6, random() % (4 * kObjectCostBytes)));
    }
    std::map<uint64_t, uint64_t> cost = {{0, 0}};
    for (uint64_t txid = 1; txid < 20; ++txid) {
      for (const PlanObject& object : objects) {
        if (object.max_txid.raw() != txid) continue;
        for (const auto& [start, price] : std::map(cost)) {
          if (start + 1 < object.min_txid.raw() || start >= txid) continue;
          const uint64_t all = price + kObjectCostBytes + object.bytes;
          if (!cost.contains(txid) || all < cost[txid]) cost[txid] = all;
        }
      }
    }
    for (uint64_t target = 1; target < 20; ++target) {
      const Result<std::vector<PlanStep>> plan = PlanRestore(objects, Txid(target));
      ASSERT_EQ(plan.ok(), cost.contains(target)) << "round " << round << " target " << target;
      if (!plan.ok()) continue;
      uint64_t price = 0;
      Txid at;
      for (const PlanStep& step : *plan) {
        EXPECT_EQ(step.after, at);
        EXPECT_LE(objects[step.object].min_txid, at.Next());
        at = step.upto;
        price += kObjectCostBytes + objects[step.object].bytes;
      }
      EXPECT_EQ(at, Txid(target));
      EXPECT_EQ(price, cost[target]) << "round " << round << " target " << target;
    }
    const Reachable around = ReachableAround(objects, Txid(8));
    auto behind = cost.upper_bound(8);
    EXPECT_EQ(around.behind.value_or(Txid()).raw(), behind == cost.end() ? 0 : behind->first);
    EXPECT_EQ(around.at_or_before.value_or(Txid()).raw(), std::prev(behind)->first);
  }
}

}  // namespace
}  // namespace runnel::restore
