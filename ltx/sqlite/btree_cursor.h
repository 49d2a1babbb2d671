// The cells of one tree in its order, subtrees left out on demand.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/sqlite/btree.h"

namespace runnel::sqlite {

// Which subtrees a cursor does not enter. LIFETIME: outlives the cursor.
class SubtreeFilter {
 public:
  virtual ~SubtreeFilter() = default;
  virtual bool LeavesOut(Pgno pgno) const = 0;
};

// A cell and the page it lies in.
struct CellAt {
  Pgno pgno;
  Cell cell;
};

// Refuses what is not a tree: deeper than SQLite can read, pages of two kinds, rowids out of order, more pages than the
// image has (which ends every cycle). THREAD: one. LIFETIME: image and filter.
class TreeCursor {
 public:
  // `filter` null: the whole tree.
  TreeCursor(const Image& image, Pgno root, const SubtreeFilter* filter = nullptr)
      : image_(&image), root_(root), filter_(filter) {}

  // False: no more. Errors: kCorrupt.
  Result<bool> Next();
  // The cell Next moved to.
  const CellAt& at() const { return at_; }
  uint64_t pages_read() const { return pages_read_; }

 private:
  struct Level {
    BtreePage page;
    uint32_t index = 0;
    bool child_done = false;  // interior: the child left of cell `index` has been walked
  };
  Status Enter(Pgno pgno);
  Status Take(const BtreePage& page, uint32_t index);

  const Image* image_;
  Pgno root_;
  const SubtreeFilter* filter_;
  std::vector<Level> path_;
  CellAt at_;
  bool started_ = false;
  bool any_ = false;
  uint64_t pages_read_ = 0;
};

}  // namespace runnel::sqlite
