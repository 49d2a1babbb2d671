#include "ltx/sqlite/btree_cursor.h"

namespace runnel::sqlite {

Status TreeCursor::Enter(Pgno pgno) {
  if (filter_ != nullptr && filter_->LeavesOut(pgno)) return Ok();
  if (path_.size() >= kTreeDepthMax) return PageError(pgno, "the tree is too deep");
  if (++pages_read_ > image_->page_count()) return PageError(pgno, "the tree has more pages than the database");
  TRY_ASSIGN(BtreePage page, BtreePage::Read(*image_, pgno));
  if (!path_.empty() && path_.front().page.table() != page.table())
    return PageError(pgno, "page of another kind of tree");
  path_.push_back(Level{page});
  return Ok();
}

Status TreeCursor::Take(const BtreePage& page, uint32_t index) {
  int64_t last = at_.cell.rowid;
  TRY(page.ReadCell(index, at_.cell));
  at_.pgno = page.pgno();
  if (page.table() && any_ && at_.cell.rowid <= last) return PageError(page.pgno(), "rowids out of order");
  any_ = true;
  return Ok();
}

Result<bool> TreeCursor::Next() {
  if (!started_) {
    started_ = true;
    TRY(Enter(root_));
  }
  while (!path_.empty()) {
    Level& top = path_.back();
    if (top.page.leaf()) {
      if (top.index == top.page.cell_count()) {
        path_.pop_back();
        continue;
      }
      TRY(Take(top.page, top.index++));
      return true;
    }
    if (!top.child_done) {
      if (top.index > top.page.cell_count()) {
        path_.pop_back();
        continue;
      }
      top.child_done = true;
      TRY_ASSIGN(Pgno child, top.page.Child(top.index));
      TRY(Enter(child));  // `top` may have moved
      continue;
    }
    top.child_done = false;
    uint32_t index = top.index++;
    if (top.page.table() || index >= top.page.cell_count()) continue;
    TRY(Take(top.page, index));
    return true;
  }
  return false;
}

}  // namespace runnel::sqlite
