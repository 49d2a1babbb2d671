// What a leaf has to be before two versions of it are compared (subscriber/feed/leaf_merge.h); in the product the walk
// over the trees makes sure of it.
#pragma once

#include <cstdint>

#include "ltx/sqlite/btree.h"

namespace runnel::testing {

// All cells can be read, and their rowids rise.
inline bool IsInOrder(const sqlite::BtreePage& page) {
  sqlite::Cell cell;
  for (uint32_t i = 0; i < page.cell_count(); ++i) {
    const int64_t last = cell.rowid;
    if (!page.ReadCell(i, cell).ok() || (i > 0 && cell.rowid <= last)) return false;
  }
  return true;
}

}  // namespace runnel::testing
