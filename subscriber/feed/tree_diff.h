// The rows in which two trees can differ, pulled one by one: the image before and after one commit, the same table.
//
// While the page is the same on both sides and not in the commit, only marked children matter (the separators are
// equal, so the key ranges are): spots.h says where that ends. From the first page of the commit on, all rows below it
// are merged, without the subtrees that both sides share. An unmarked subtree of the old tree that the new one no
// longer has is read in full: pages freed without being written.
//
// I1  Every row that differs comes out exactly once; pairs that turn out equal may come out too, cells with equal bytes
//     do not.
// I2  Memory: the shared subtrees of one changed page, and for WITHOUT ROWID the keys pending (key_merge.h).
#pragma once

#include <memory>
#include <optional>
#include <span>

#include "ltx/base/result.h"
#include "ltx/sqlite/btree_cursor.h"
#include "subscriber/feed/cell_merge.h"
#include "subscriber/feed/leaf_merge.h"
#include "subscriber/feed/page_map.h"
#include "subscriber/feed/spots.h"

namespace runnel::feed {

// One commit as the diff sees it. LIFETIME: all of it, as long as anything made from it.
struct CommitView {
  const sqlite::Image& before;
  const sqlite::Image& after;
  const PageSet& changed;  // every page of the commit, those with equal bytes included
  const Marks& marks;
  const PageMap& map;  // of the image before
  const Spots& spots;  // of the trees after
  const KnownDifferences differences;
  PageSet& shared;  // scratch
  Shortcuts shortcuts;
};

struct TreePair {
  Pgno before_root;  // 0: a new table
  Pgno after_root;
  bool without_rowid = false;
  uint32_t key_fields = 0;     // WITHOUT ROWID: leading fields that are the key
  bool skip_unchanged = true;  // equal bytes are equal rows
};

// THREAD: one; one at a time on a CommitView. LIFETIME: the view.
class TreeDiff {
 public:
  TreeDiff(const CommitView& view, const TreePair& pair);
  ~TreeDiff();
  TreeDiff(const TreeDiff&) = delete;
  TreeDiff& operator=(const TreeDiff&) = delete;

  // False: no more. Errors: kCorrupt.
  Result<bool> Next(CellChange& change);

 private:
  class Side;

  Status StartPage(Pgno pgno);
  Status StartMerge(Pgno before, Pgno after);
  Status CollectShared(Pgno pgno, uint32_t depth);
  Result<bool> WasInThisTree(Pgno pgno);
  bool EqualBytes(const CellChange& change) const;

  const CommitView& view_;
  const TreePair pair_;
  bool started_ = false;
  std::span<const Spot> spots_;  // still to come
  std::unique_ptr<Side> before_side_;
  std::unique_ptr<Side> after_side_;
  std::unique_ptr<CellMerge> merge_;
  std::optional<LeafMerge> leaf_;
  Pgno remembered_parent_;  // of the last origin check, and its answer
  bool remembered_ = false;
};

}  // namespace runnel::feed
