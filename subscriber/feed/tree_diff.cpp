#include "subscriber/feed/tree_diff.h"

#include <algorithm>

namespace runnel::feed {

using sqlite::BtreePage;
using sqlite::Cell;
using sqlite::CellAt;
using sqlite::PageError;
using sqlite::TreeCursor;

// One tree without the shared subtrees.
class TreeDiff::Side : public sqlite::SubtreeFilter {
 public:
  Side(const sqlite::Image& image, Pgno root, const CommitView& view, bool old)
      : view_(view), old_(old), cursor_(image, root, this) {}

  bool LeavesOut(Pgno pgno) const override {
    if (view_.shared.Contains(pgno)) return true;
    return old_ && view_.shortcuts.no_freed_rows && !view_.marks.dirty.Contains(pgno);
  }
  TreeCursor& cursor() { return cursor_; }

 private:
  const CommitView& view_;
  const bool old_;
  TreeCursor cursor_;
};

TreeDiff::TreeDiff(const CommitView& view, const TreePair& pair) : view_(view), pair_(pair) {
  view_.shared.Reserve(std::max(view.before.page_count(), view.after.page_count()));
}

TreeDiff::~TreeDiff() { view_.shared.Clear(); }

Result<bool> TreeDiff::Next(CellChange& change) {
  if (!started_) {
    started_ = true;
    if (pair_.skip_unchanged && pair_.before_root == pair_.after_root) {
      spots_ = view_.spots.Of(pair_.after_root);
    } else {
      TRY(StartMerge(pair_.before_root, pair_.after_root));
    }
  }
  while (true) {
    if (leaf_) {
      TRY_ASSIGN(bool more, leaf_->Next(change));
      if (more) return true;
      leaf_.reset();
    }
    if (merge_ != nullptr) {
      TRY_ASSIGN(bool more, merge_->Next(change));
      if (more && EqualBytes(change)) continue;
      if (more) return true;
      merge_.reset();
      view_.shared.Clear();
    }
    if (spots_.empty()) return false;
    const Spot spot = spots_.front();
    spots_ = spots_.subspan(1);
    if (spot.cell == Spot::kWholePage) {
      TRY(StartPage(spot.pgno));
      continue;
    }
    // The page is not in the commit; only an overflow page of the cell can be.
    TRY_ASSIGN(BtreePage page, BtreePage::Read(view_.after, spot.pgno));
    change.before = CellAt{spot.pgno, Cell()};
    TRY(page.ReadCell(spot.cell, change.before->cell));
    change.after = change.before;
    return true;
  }
}

// The first page of the commit on the way down, the same number on both sides.
Status TreeDiff::StartPage(Pgno pgno) {
  if (!pair_.without_rowid) {
    TRY_ASSIGN(BtreePage before, BtreePage::Read(view_.before, pgno));
    TRY_ASSIGN(BtreePage after, BtreePage::Read(view_.after, pgno));
    if (before.leaf() && before.table() && after.leaf() && after.table()) {
      leaf_.emplace(before, after, view_.marks.dirty, view_.differences.Of(pgno));
      return Ok();
    }
  }
  return StartMerge(pgno, pgno);
}

Status TreeDiff::StartMerge(Pgno before, Pgno after) {
  if (pair_.skip_unchanged && before.raw() != 0) TRY(CollectShared(after, 0));
  before_side_.reset();
  if (before.raw() != 0) before_side_ = std::make_unique<Side>(view_.before, before, view_, true);
  after_side_ = std::make_unique<Side>(view_.after, after, view_, false);
  TreeCursor* old = before_side_ != nullptr ? &before_side_->cursor() : nullptr;
  if (!pair_.without_rowid) {
    merge_ = std::make_unique<RowidMerge>(old, after_side_->cursor());
    return Ok();
  }
  merge_ = std::make_unique<KeyMerge>(KeyMerge::Options{view_.before, view_.after, old, after_side_->cursor(),
                                                        pair_.key_fields,
                                                        [this](const CellChange& pair) { return EqualBytes(pair); }});
  return Ok();
}

Status TreeDiff::CollectShared(Pgno pgno, uint32_t depth) {
  if (!view_.marks.dirty.Contains(pgno)) {
    if (pgno.raw() > view_.before.page_count()) return PageError(pgno, "a new page that is not in the commit");
    TRY_ASSIGN(bool ours, WasInThisTree(pgno));
    if (ours) view_.shared.Add(pgno);
    return Ok();
  }
  if (depth >= sqlite::kTreeDepthMax) return PageError(pgno, "the tree is too deep");
  TRY_ASSIGN(BtreePage page, BtreePage::Read(view_.after, pgno));
  for (uint32_t i = 0; !page.leaf() && i <= page.cell_count(); ++i) {
    TRY_ASSIGN(Pgno child, page.Child(i));
    TRY(CollectShared(child, depth + 1));
  }
  return Ok();
}

// In one commit a page number can come to hang under the root of another table (names swapped, roots moved by
// auto_vacuum).
Result<bool> TreeDiff::WasInThisTree(Pgno pgno) {
  if (view_.shortcuts.no_origin_check) return true;
  Pgno parent = view_.map.ParentOf(pgno);
  if (parent.raw() == 0) return pgno == pair_.before_root;
  if (parent != remembered_parent_) {
    remembered_parent_ = parent;
    remembered_ = view_.map.RootOf(parent) == pair_.before_root;
  }
  return remembered_;
}

bool TreeDiff::EqualBytes(const CellChange& change) const {
  if (!pair_.skip_unchanged || !change.before || !change.after) return false;
  const Cell& a = change.before->cell;
  const Cell& b = change.after->cell;
  if (a.payload_bytes != b.payload_bytes || a.overflow != b.overflow) return false;
  if (a.overflow.raw() != 0 && view_.marks.dirty.Contains(a.overflow)) return false;
  return AsText(a.local) == AsText(b.local);
}

}  // namespace runnel::feed
