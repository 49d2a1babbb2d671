// Random databases and transactions on a real SQLite; a mirror fed by the feed alone must equal what SELECT says after
// every step, and no change may be redundant. RUNNEL_FEED_SEED, RUNNEL_FEED_DATABASES and RUNNEL_FEED_STEPS ask for
// other or longer runs.
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "tests/support/temp_dir.h"
#include "tests/unit/feed/generator.h"
#include "tests/unit/feed/harness.h"

namespace runnel::testing {
namespace {

uint64_t Setting(const char* name, uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

DbSettings RandomSettings(Random& r) {
  DbSettings s;
  s.page_size = r.Of<uint32_t>({512, 512, 512, 1024, 1024, 2048, 4096, 8192, 16384, 32768, 65536});
  s.auto_vacuum = static_cast<int>(r.Below(3));
  s.encoding = r.Of<std::string>({"UTF-8", "UTF-8", "UTF-16le", "UTF-16be"});
  s.secure_delete = r.Chance(60) ? 0 : 1 + static_cast<int>(r.Below(2));
  s.reserved_bytes = r.Chance(25) ? static_cast<int>(r.Below(s.page_size == 512 ? 32 : 100)) : 0;
  s.cache_pages = r.Chance(30) ? 10 : 2000;  // 10: pages spill into the WAL before the commit, some twice
  s.foreign_keys = r.Chance(50);
  return s;
}

struct Kind {
  feed::Shortcuts shortcuts;
  bool merged = false;            // several commits as one
  bool drop_equal_pages = false;  // mutation
  int damaged_copies = 0;
};

struct Outcome {
  std::string wrong;  // "" or what, with everything needed to see it again
  uint64_t commits = 0;
  uint64_t rows = 0;
  uint64_t schema_changes = 0;
};

Outcome RunDatabase(uint64_t seed, uint64_t steps, const Kind& kind, const TempDir& dir) {
  Random random(seed);
  DbSettings settings = RandomSettings(random);
  std::filesystem::path path = dir / ("t" + std::to_string(seed) + ".db");
  Outcome out;
  {
    CapturedDb db(path.string(), settings, random);
    feed::FeedOptions options = EveryTable();
    options.shortcuts = kind.shortcuts;
    options.hash_seed = seed + 1;
    // Small limits in some databases, so that changes are found twice and netting gives up.
    if (random.Chance(30)) options.limits.buffered_changes_max = 3;
    FeedHarness harness(db, options, kind.drop_equal_pages);
    harness.Damage(kind.damaged_copies, random);
    Generator generator(db, random);
    bool correct_map = !kind.shortcuts.no_overflow_links && !kind.shortcuts.no_ancestors && !kind.drop_equal_pages;
    for (uint64_t step = 0; step < steps && out.wrong.empty(); ++step) {
      generator.Step();
      if (kind.merged && random.Chance(60)) continue;
      std::string wrong = harness.Step(kind.merged);
      if (wrong.empty() && correct_map && random.Chance(2)) wrong = harness.VerifyMap();
      if (!wrong.empty()) {
        out.wrong =
            "seed " + std::to_string(seed) + " step " + std::to_string(step) + " " + settings.ToString() + ": " + wrong;
        for (const std::string& sql : generator.log()) out.wrong += "\n    " + sql.substr(0, 300);
      }
      if (db.frames_taken() > 3000 || random.Chance(2)) db.Checkpoint();
    }
    out.commits = harness.commits();
    out.rows = harness.mirror().row_changes;
    out.schema_changes = harness.mirror().schema_changes;
  }
  for (const char* suffix : {"", "-wal", "-shm"}) std::filesystem::remove(path.string() + suffix);
  return out;
}

void ExpectExact(const Kind& kind, uint64_t first_seed, uint64_t databases, uint64_t steps) {
  TempDir dir;
  first_seed = Setting("RUNNEL_FEED_SEED", first_seed);
  databases = Setting("RUNNEL_FEED_DATABASES", databases);
  steps = Setting("RUNNEL_FEED_STEPS", steps);
  Outcome all;
  for (uint64_t i = 0; i < databases; ++i) {
    Outcome one = RunDatabase(first_seed + i, steps, kind, dir);
    EXPECT_EQ(one.wrong, "");
    all.commits += one.commits;
    all.rows += one.rows;
    all.schema_changes += one.schema_changes;
    if (::testing::Test::HasFailure()) break;
  }
  std::cout << "seeds " << first_seed << "+" << databases << ": " << all.commits << " commits, " << all.rows
            << " row changes, " << all.schema_changes << " schema changes\n";
}

// Databases of these seeds that come out wrong.
uint64_t CountWrong(const Kind& kind, uint64_t databases) {
  TempDir dir;
  uint64_t wrong = 0;
  for (uint64_t seed = 1; seed <= databases; ++seed) {
    if (!RunDatabase(seed, 100, kind, dir).wrong.empty()) ++wrong;
    if (wrong >= 2) break;
  }
  return wrong;
}

TEST(FeedTorture, TellsExactlyWhatChangedInRandomTransactions) { ExpectExact(Kind(), 1, 16, 100); }

TEST(FeedTorture, TellsExactlyWhatChangedOverMergedCommits) {
  Kind kind;
  kind.merged = true;
  ExpectExact(kind, 1001, 8, 100);
}

TEST(FeedTorture, RefusesOrAnswersDamagedCommitsAndDoesNotMove) {
  Kind kind;
  kind.damaged_copies = 10;
  ExpectExact(kind, 2001, 4, 40);
}

TEST(FeedTorture, NoticesIfAncestorsAreNotMarked) {
  Kind kind;
  kind.shortcuts.no_ancestors = true;
  EXPECT_GT(CountWrong(kind, 20), 0u);
}

TEST(FeedTorture, NoticesIfRowsOnFreedPagesAreNotRead) {
  Kind kind;
  kind.shortcuts.no_freed_rows = true;
  EXPECT_GT(CountWrong(kind, 20), 0u);
}

TEST(FeedTorture, NoticesIfOverflowPagesAreNotInTheMap) {
  Kind kind;
  kind.shortcuts.no_overflow_links = true;
  EXPECT_GT(CountWrong(kind, 20), 0u);
}

TEST(FeedTorture, NoticesIfFreedLeavesAreNotForgotten) {
  Kind kind;
  kind.shortcuts.no_forgetting = true;
  EXPECT_GT(CountWrong(kind, 40), 0u);
}

TEST(FeedTorture, NoticesIfDeletesDoNotComeFirst) {
  Kind kind;
  kind.shortcuts.no_order = true;
  EXPECT_GT(CountWrong(kind, 40), 0u);
}

}  // namespace
}  // namespace runnel::testing
