#include "subscriber/feed/map_walk.h"

namespace runnel::feed {

using sqlite::BtreePage;
using sqlite::Cell;
using sqlite::PageError;

Status MapWalk::Tree(Pgno root) {
  if (root.raw() == 0 || root.raw() > image_.page_count()) return PageError(root, "root page out of range");
  links_.push_back({root, Pgno(0)});
  return Walk(root, 0);
}

Status MapWalk::Visit(Pgno pgno) {
  if (!visited_.Add(pgno)) return PageError(pgno, "used twice");
  return Ok();
}

Status MapWalk::InRange(Pgno from, Pgno to) const {
  if (to.raw() < 2 || to.raw() > image_.page_count()) {
    return PageError(from, "points to page " + std::to_string(to.raw()) + ", which is out of range");
  }
  return Ok();
}

// The recursion is as deep as the tree, at most kTreeDepthMax.
Status MapWalk::Walk(Pgno pgno, uint32_t depth) {
  if (depth >= sqlite::kTreeDepthMax) return PageError(pgno, "the tree is too deep");
  TRY(Visit(pgno));
  TRY_ASSIGN(BtreePage page, BtreePage::Read(image_, pgno));
  if (!page.leaf()) TRY(WalkChildren(page, depth));
  if (page.has_payload() && !shortcuts_.no_overflow_links) TRY(WalkOverflow(page));
  return Ok();
}

Status MapWalk::WalkChildren(const BtreePage& page, uint32_t depth) {
  bool changed = Changed(page.pgno());
  if (!changed && page.table()) {
    TRY_ASSIGN(std::vector<uint32_t> places, MarkedChildren(*before_, page, *marks_));
    for (uint32_t place : places) {
      TRY_ASSIGN(Pgno child, page.Child(place));
      TRY(InRange(page.pgno(), child));
      TRY(Walk(child, depth + 1));
    }
    return Ok();
  }
  for (uint32_t i = 0; i <= page.cell_count(); ++i) {
    TRY_ASSIGN(Pgno child, page.Child(i));
    TRY(InRange(page.pgno(), child));
    if (changed) links_.push_back({child, page.pgno()});
    if (Marked(child)) TRY(Walk(child, depth + 1));
  }
  return Ok();
}

Status MapWalk::WalkOverflow(const BtreePage& page) {
  bool changed = Changed(page.pgno());
  for (uint32_t i = 0; i < page.cell_count(); ++i) {
    TRY_ASSIGN(Cell cell, page.CellAt(i));
    if (cell.overflow.raw() == 0) continue;
    TRY(InRange(page.pgno(), cell.overflow));
    if (changed) links_.push_back({cell.overflow, page.pgno()});
    // A marked page of a chain marks the first one too: its way up leads through it.
    if (Marked(cell.overflow)) TRY(WalkChain(cell));
  }
  return Ok();
}

Status MapWalk::WalkChain(const Cell& cell) {
  uint64_t left = sqlite::OverflowPages(image_.layout(), cell);
  for (Pgno pgno = cell.overflow; left > 0; --left) {
    TRY(Visit(pgno));
    TRY_ASSIGN(Bytes bytes, image_.Page(pgno));
    Pgno next(LoadBe32(bytes.data()));
    if (left > 1) {
      TRY(InRange(pgno, next));
      links_.push_back({next, pgno});
    }
    pgno = next;
  }
  return Ok();
}

}  // namespace runnel::feed
