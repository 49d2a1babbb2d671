// The shortcut for two versions of one leaf must find exactly what the merge of any two runs of cells finds, whatever
// stands in the pages.
#include "subscriber/feed/leaf_merge.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "subscriber/feed/difference.h"
#include "subscriber/feed/page_map.h"
#include "tests/support/leaf_order.h"

namespace runnel::feed {
namespace {

constexpr uint32_t kPageBytes = 512;

using Random = std::mt19937;

// Two pages: page 1 only to have a header, page 2 the leaf.
std::string ImageOf(const std::string& leaf) {
  std::string image(kPageBytes, '\0');
  std::memcpy(image.data(), "SQLite format 3", 16);
  image[16] = static_cast<char>(kPageBytes >> 8);
  std::memcpy(image.data() + 21, "\x40\x20\x20", 3);
  return image + leaf;
}

// A table leaf of rows with rising rowids, some with an overflow page.
std::string RandomLeaf(Random& random) {
  std::string leaf(kPageBytes, '\0');
  leaf[0] = 13;
  uint32_t end = kPageBytes;
  uint32_t count = random() % 12;
  uint64_t rowid = random() % 3;
  uint32_t used = 0;
  for (uint32_t i = 0; i < count; ++i) {
    rowid += 1 + random() % (random() % 8 == 0 ? 1000 : 3);
    std::string cell;
    const bool overflows = random() % 10 == 0;
    const uint32_t size = overflows ? 600 : random() % 40;
    if (size >= 0x80) cell += static_cast<char>(0x80 | size >> 7);
    cell += static_cast<char>(size & 0x7f);
    if (rowid >= 0x80) cell += static_cast<char>(0x80 | rowid >> 7);
    cell += static_cast<char>(rowid & 0x7f);
    // 600 bytes of 512 usable ones: 92 stay here.
    for (uint32_t k = overflows ? 92 : size; k > 0; --k) cell += static_cast<char>(random() % 4);
    if (overflows) cell += std::string("\0\0\0", 3) + static_cast<char>(1 + random() % 4);
    if (end < cell.size() + 8 + 2 * (used + 2)) break;
    end -= static_cast<uint32_t>(cell.size());
    leaf.replace(end, cell.size(), cell);
    leaf[8 + 2 * used] = static_cast<char>(end >> 8);
    leaf[9 + 2 * used] = static_cast<char>(end & 0xff);
    ++used;
  }
  leaf[4] = static_cast<char>(used);
  return leaf;
}

// What a merge says, as text: its changes, then how it ended.
std::string Tell(CellMerge& merge, bool leave_out_equal, const PageSet& dirty) {
  auto show = [](const std::optional<sqlite::CellAt>& at) {
    if (!at) return std::string("-");
    const sqlite::Cell& cell = at->cell;
    return std::to_string(cell.rowid) + "/" + std::to_string(cell.payload_bytes) + "/" +
           std::to_string(cell.overflow.raw()) + "/" + std::string(AsText(cell.local));
  };
  std::string told;
  CellChange change;
  while (true) {
    Result<bool> more = merge.Next(change);
    if (!more.ok()) return "refused";
    if (!*more) return told;
    const std::string before = show(change.before);
    const std::string after = show(change.after);
    const bool touched = change.after && dirty.Contains(change.after->cell.overflow);
    if (leave_out_equal && before == after && !touched) continue;
    told += before + " -> " + after + "\n";
  }
}

// False: the pages are not what a merge is asked about.
bool ExpectTheSame(const std::string& before_leaf, const std::string& after_leaf, const PageSet& dirty) {
  const std::string before_bytes = ImageOf(before_leaf);
  const std::string after_bytes = ImageOf(after_leaf);
  sqlite::MemorySource before_source(AsBytes(before_bytes), kPageBytes);
  sqlite::MemorySource after_source(AsBytes(after_bytes), kPageBytes);
  Result<sqlite::Image> before = sqlite::Image::Of(before_source);
  Result<sqlite::Image> after = sqlite::Image::Of(after_source);
  if (!before.ok() || !after.ok()) {
    ADD_FAILURE() << "the headers are right";
    return false;
  }
  Result<sqlite::BtreePage> before_page = sqlite::BtreePage::Read(*before, Pgno(2));
  Result<sqlite::BtreePage> after_page = sqlite::BtreePage::Read(*after, Pgno(2));
  if (!before_page.ok() || !after_page.ok()) return false;
  if (!before_page->leaf() || !before_page->table() || !after_page->leaf() || !after_page->table()) return false;
  if (!testing::IsInOrder(*after_page)) return false;
  sqlite::TreeCursor before_cursor(*before, Pgno(2));
  sqlite::TreeCursor after_cursor(*after, Pgno(2));
  RowidMerge plain(&before_cursor, after_cursor);
  LeafMerge leaf(*before_page, *after_page, dirty);
  EXPECT_EQ(Tell(leaf, false, dirty), Tell(plain, true, dirty));
  return true;
}

class LeafMergeTest : public ::testing::Test {
 protected:
  LeafMergeTest() {
    dirty_.Reserve(8);
    dirty_.Add(Pgno(3));
  }
  Random random_{7};
  PageSet dirty_;
};

TEST_F(LeafMergeTest, FindsWhatAPlainMergeFinds) {
  int compared = 0;
  for (int i = 0; i < 20000; ++i) compared += ExpectTheSame(RandomLeaf(random_), RandomLeaf(random_), dirty_);
  EXPECT_GT(compared, 1000);
}

TEST_F(LeafMergeTest, FindsBytesThatWereChangedInPlace) {
  int compared = 0;
  for (int i = 0; i < 20000; ++i) {
    const std::string before = RandomLeaf(random_);
    std::string after = before;
    for (uint32_t k = random_() % 4; k > 0; --k) after[random_() % kPageBytes] = static_cast<char>(random_() % 6);
    compared += ExpectTheSame(before, after, dirty_);
  }
  EXPECT_GT(compared, 1000);
}

TEST(MapWalk, RefusesALeafWhoseRowidsAreOutOfOrder) {
  std::string leaf(kPageBytes, '\0');
  leaf[0] = 13;
  leaf[4] = 2;
  leaf.replace(8, 4, std::string("\x01\xfc\x01\xf8", 4));
  leaf.replace(0x1f8, 8, std::string("\x02\x06xy\x02\x05xy"));  // rowids 6 and 5
  for (const bool in_order : {true, false}) {
    if (!in_order) std::swap(leaf[9], leaf[11]);
    const std::string bytes = ImageOf(leaf);
    sqlite::MemorySource source(AsBytes(bytes), kPageBytes);
    Result<sqlite::Image> image = sqlite::Image::Of(source);
    ASSERT_TRUE(image.ok()) << image.error().message();
    Result<PageMap> map = PageMap::Build(*image, {Pgno(2)}, {});
    ASSERT_EQ(map.ok(), in_order);
    if (!map.ok()) {
      EXPECT_EQ(map.error().message(), "page 2: rowids out of order");
    }
  }
}

TEST(Difference, IsFromTheFirstByteToBehindTheLast) {
  Random random(3);
  for (int i = 0; i < 20000; ++i) {
    std::string a(1 + random() % 1500, 'x');
    std::string b = a;
    for (uint32_t k = random() % 3; k > 0; --k) b[random() % b.size()] = 'y';
    size_t begin = 0;
    while (begin < a.size() && a[begin] == b[begin]) ++begin;
    size_t end = a.size();
    while (end > begin && a[end - 1] == b[end - 1]) --end;
    const Difference got = Difference::Of(AsBytes(a), AsBytes(b));
    ASSERT_EQ(got.begin, begin);
    ASSERT_EQ(got.end, end);
  }
}

TEST(Difference, OfACommitsPagesIsFoundByThePagesNumber) {
  const std::vector<Pgno> pages = {Pgno(2), Pgno(5), Pgno(9)};
  const std::vector<Difference> differences = {{1, 2}, {3, 4}, {5, 6}};
  const KnownDifferences known{pages, differences};
  EXPECT_EQ(known.Of(Pgno(5))->begin, 3u);
  EXPECT_EQ(known.Of(Pgno(9))->end, 6u);
  for (const uint32_t other : {1u, 3u, 10u}) EXPECT_FALSE(known.Of(Pgno(other)).has_value());
  EXPECT_FALSE(KnownDifferences().Of(Pgno(2)).has_value());
}

}  // namespace
}  // namespace runnel::feed
