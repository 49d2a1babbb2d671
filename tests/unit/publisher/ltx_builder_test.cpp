#include "publisher/ltx_builder.h"

#include <gtest/gtest.h>

namespace runnel::publisher {
namespace {

CommitFrames Frames(uint32_t end_frame, uint32_t page_count, std::vector<std::pair<uint32_t, uint32_t>> pages) {
  CommitFrames frames;
  frames.end.frame = end_frame;
  frames.page_count = page_count;
  for (auto [pgno, frame] : pages) frames.pages.push_back({Pgno(pgno), frame});
  return frames;
}

std::vector<std::pair<uint32_t, uint32_t>> PagesOf(const CommitFrames& frames) {
  std::vector<std::pair<uint32_t, uint32_t>> pages;
  for (const PageSource& source : frames.pages) pages.emplace_back(source.pgno.raw(), source.frame);
  return pages;
}

TEST(Merge, TakesTheNewestSourceOfEachPage) {
  CommitFrames older = Frames(3, 10, {{1, 1}, {4, 2}, {9, 3}});
  Merge(older, Frames(6, 10, {{2, 4}, {4, 5}, {10, 6}}));
  EXPECT_EQ(PagesOf(older), (std::vector<std::pair<uint32_t, uint32_t>>{{1, 1}, {2, 4}, {4, 5}, {9, 3}, {10, 6}}));
  EXPECT_EQ(older.end.frame, 6u);
}

TEST(Merge, DropsPagesThatTheNewerCommitCutOff) {
  CommitFrames older = Frames(3, 10, {{1, 1}, {9, 2}, {10, 3}});
  Merge(older, Frames(4, 8, {{1, 4}}));
  EXPECT_EQ(PagesOf(older), (std::vector<std::pair<uint32_t, uint32_t>>{{1, 4}}));
  EXPECT_EQ(older.page_count, 8u);
}

TEST(Merge, SpansTheWalBytesOfBoth) {
  CommitFrames older = Frames(3, 10, {{1, 1}});
  older.wal_offset = 32;
  older.wal_bytes = 300;
  CommitFrames newer = Frames(4, 10, {{1, 4}});
  newer.wal_offset = 332;
  newer.wal_bytes = 100;
  Merge(older, std::move(newer));
  EXPECT_EQ(older.wal_offset, 32u);
  EXPECT_EQ(older.wal_bytes, 400u);
}

}  // namespace
}  // namespace runnel::publisher
