// libFuzzer entry for the shortcut that compares two versions of a leaf (subscriber/feed/leaf_merge.h). The input is
// two pages, the one before and the one after; they get the type of a table's leaf, everything else may be anything.
//
// Checked beyond "no crash": where the page after is in order, as the walk before it makes sure of, the shortcut says
// what the merge of any two runs of cells says, error or not.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <optional>
#include <string>

#include "ltx/base/check.h"
#include "subscriber/feed/leaf_merge.h"
#include "tests/support/leaf_order.h"

namespace {

using namespace runnel;

constexpr uint32_t kPageBytes = 512;

std::string ImageOf(const uint8_t* leaf) {
  std::string image(kPageBytes, '\0');
  std::memcpy(image.data(), "SQLite format 3", 16);
  image[16] = static_cast<char>(kPageBytes >> 8);
  std::memcpy(image.data() + 21, "\x40\x20\x20", 3);
  image.append(reinterpret_cast<const char*>(leaf), kPageBytes);
  image[kPageBytes] = 13;
  return image;
}

bool SameCell(const std::optional<sqlite::CellAt>& a, const std::optional<sqlite::CellAt>& b) {
  if (a.has_value() != b.has_value()) return false;
  return !a || (a->cell.rowid == b->cell.rowid && a->cell.payload_bytes == b->cell.payload_bytes &&
                a->cell.overflow == b->cell.overflow && AsText(a->cell.local) == AsText(b->cell.local));
}

// The next change of the plain merge that the shortcut would tell.
Result<bool> NextUnequal(feed::RowidMerge& merge, const feed::PageSet& dirty, feed::CellChange& change) {
  while (true) {
    TRY_ASSIGN(bool more, merge.Next(change));
    if (!more || !change.before || !change.after || !SameCell(change.before, change.after)) return more;
    if (dirty.Contains(change.after->cell.overflow)) return true;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2 * kPageBytes) return 0;
  const std::string before_bytes = ImageOf(data);
  const std::string after_bytes = ImageOf(data + kPageBytes);
  sqlite::MemorySource before_source(AsBytes(before_bytes), kPageBytes);
  sqlite::MemorySource after_source(AsBytes(after_bytes), kPageBytes);
  Result<sqlite::Image> before = sqlite::Image::Of(before_source);
  Result<sqlite::Image> after = sqlite::Image::Of(after_source);
  CHECK(before.ok() && after.ok(), "the header is right");
  Result<sqlite::BtreePage> before_leaf = sqlite::BtreePage::Read(*before, Pgno(2));
  Result<sqlite::BtreePage> after_leaf = sqlite::BtreePage::Read(*after, Pgno(2));
  if (!before_leaf.ok() || !after_leaf.ok() || !testing::IsInOrder(*after_leaf)) return 0;
  feed::PageSet dirty;
  dirty.Reserve(4);
  dirty.Add(Pgno(3));
  sqlite::TreeCursor before_cursor(*before, Pgno(2));
  sqlite::TreeCursor after_cursor(*after, Pgno(2));
  feed::RowidMerge plain(&before_cursor, after_cursor);
  feed::LeafMerge leaf(*before_leaf, *after_leaf, dirty);
  // The plain merge looks one cell ahead, so it may refuse earlier: compared are whole answers.
  while (true) {
    feed::CellChange expected;
    feed::CellChange got;
    Result<bool> more = NextUnequal(plain, dirty, expected);
    Result<bool> found = leaf.Next(got);
    if (!more.ok()) {
      while (found.ok() && *found) found = leaf.Next(got);
      CHECK(!found.ok(), "only the plain merge refuses the pages");
      return 0;
    }
    if (!found.ok()) {
      while (more.ok() && *more) more = NextUnequal(plain, dirty, expected);
      CHECK(!more.ok(), "only the shortcut refuses the pages");
      return 0;
    }
    const bool equal =
        *more == *found && (!*more || (SameCell(expected.before, got.before) && SameCell(expected.after, got.after)));
    CHECK(equal, "both merges tell the same");
    if (!*more) return 0;
  }
}
