// Two versions of one leaf of a rowid table, put side by side: where almost all of a feed's time goes.
//
// If the cell pointers are the same on both sides, which is what an update that keeps the sizes leaves, only cells that
// touch the bytes that differ are compared. Else both sides are merged by rowid.
#pragma once

#include <cstdint>

#include "ltx/base/result.h"
#include "ltx/sqlite/btree.h"
#include "subscriber/feed/cell_merge.h"
#include "subscriber/feed/difference.h"
#include "subscriber/feed/page_set.h"

namespace runnel::feed {

// THREAD: one. LIFETIME: the pages and `dirty`.
class LeafMerge : public CellMerge {
 public:
  // `dirty`: pages with which a chain of equal overflow pages counts as changed. `difference`: if it is known.
  // REQUIRES: both are leaves of table trees; all cells of `after` were read once, in the order of their rowids
  // (map_walk.h).
  LeafMerge(const sqlite::BtreePage& before, const sqlite::BtreePage& after, const PageSet& dirty,
            std::optional<Difference> difference = {});

  // Rows whose bytes differ, or whose overflow chain is dirty. Errors: kCorrupt.
  Result<bool> Next(CellChange& change) override;

 private:
  struct Side {
    explicit Side(const sqlite::BtreePage& leaf) : page(leaf) {}

    const sqlite::BtreePage page;
    uint32_t index = 0;
    bool loaded = false;  // `cell` is the one at index
    bool any = false;     // `last` is the rowid before it
    int64_t last = 0;
    sqlite::Cell cell;

    Status Load();
    // From here on, in order behind the cell before.
    Status StartAt(uint32_t place);
    void Pass();
    bool AtEnd() const { return index == page.cell_count(); }
    sqlite::CellAt Take();
  };
  // True: a change was found. False: the end, or in_place_ is no longer true.
  Result<bool> NextInPlace(CellChange& change);
  bool Equal() const;
  bool MayBeTouched() const;
  bool Touched() const;

  const PageSet& dirty_;
  Side before_;
  Side after_;
  bool in_place_;
  Difference difference_;  // in_place_
};

}  // namespace runnel::feed
