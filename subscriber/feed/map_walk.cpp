#include "subscriber/feed/map_walk.h"

namespace runnel::feed {

using sqlite::BtreePage;
using sqlite::Cell;
using sqlite::PageError;

namespace {

// Of a whole database so many are kept before they are handed on.
constexpr size_t kLinksKeptMax = 1 << 14;

}  // namespace

Status MapWalk::Tree(Pgno root) {
  if (root.raw() == 0 || root.raw() > image_.page_count()) return PageError(root, "root page out of range");
  update_.links.push_back({root, Pgno(0)});
  if (spots_ != nullptr) spots_->StartTree(root);
  return Walk(root, 0, false);
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
Status MapWalk::Walk(Pgno pgno, uint32_t depth, bool inside) {
  if (depth >= sqlite::kTreeDepthMax) return PageError(pgno, "the tree is too deep");
  TRY(Visit(pgno));
  if (drain_ && update_.links.size() >= kLinksKeptMax) {
    drain_(update_);
    update_.links.clear();
    update_.leaves.clear();
  }
  TRY_ASSIGN(BtreePage page, BtreePage::Read(image_, pgno));
  const bool changed = Changed(pgno);
  const Node node{page, depth, changed, inside || changed};
  if (changed && !inside && spots_ != nullptr) spots_->Add({pgno});
  if (!changed && !page.leaf() && page.table()) return WalkMarkedChildren(node);
  if (page.leaf()) return WalkLeaf(node);
  const bool payloads = page.has_payload() && !shortcuts_.no_overflow_links;
  for (uint32_t i = 0; i < page.cell_count(); ++i) {
    TRY(WalkChild(node, i));
    if (!payloads) continue;
    Cell cell;
    TRY(page.ReadCell(i, cell));
    TRY(WalkOverflow(node, i, cell));
  }
  return WalkChild(node, page.cell_count());
}

Status MapWalk::WalkLeaf(const Node& node) {
  if (node.page.table()) update_.leaves.push_back(node.page.pgno());
  if (shortcuts_.no_overflow_links) return Ok();
  Cell cell;
  for (uint32_t i = 0; i < node.page.cell_count(); ++i) {
    const int64_t last = cell.rowid;
    TRY(node.page.ReadCell(i, cell));
    if (node.page.table() && i > 0 && cell.rowid <= last) return PageError(node.page.pgno(), "rowids out of order");
    TRY(WalkOverflow(node, i, cell));
  }
  return Ok();
}

Status MapWalk::Leaves(Pgno root, std::span<const TreeLeaf> leaves) {
  spots_->StartTree(root);
  for (const TreeLeaf& leaf : leaves) {
    TRY(Visit(leaf.pgno));
    TRY_ASSIGN(BtreePage page, BtreePage::Read(image_, leaf.pgno));
    spots_->Add({leaf.pgno});
    TRY(WalkLeaf(Node{page, 0, true, true}));
  }
  return Ok();
}

Status MapWalk::WalkMarkedChildren(const Node& node) {
  const size_t start = places_.size();
  TRY(AppendMarkedChildren(*before_, node.page, *marks_, places_));
  const size_t end = places_.size();
  for (size_t i = start; i < end; ++i) TRY(WalkChild(node, places_[i]));
  places_.resize(start);
  return Ok();
}

Status MapWalk::WalkChild(const Node& node, uint32_t place) {
  TRY_ASSIGN(Pgno child, node.page.Child(place));
  TRY(InRange(node.page.pgno(), child));
  if (node.changed) update_.links.push_back({child, node.page.pgno()});
  return Marked(child) ? Walk(child, node.depth + 1, node.inside) : Ok();
}

Status MapWalk::WalkOverflow(const Node& node, uint32_t index, const Cell& cell) {
  if (cell.overflow.raw() == 0) return Ok();
  TRY(InRange(node.page.pgno(), cell.overflow));
  if (node.changed) update_.links.push_back({cell.overflow, node.page.pgno()});
  // A marked page of a chain marks the first one too: its way up leads through it.
  if (!Marked(cell.overflow)) return Ok();
  if (!node.inside && spots_ != nullptr) spots_->Add({node.page.pgno(), index});
  return WalkChain(cell);
}

Status MapWalk::WalkChain(const Cell& cell) {
  uint64_t left = sqlite::OverflowPages(image_.layout(), cell);
  for (Pgno pgno = cell.overflow; left > 0; --left) {
    TRY(Visit(pgno));
    TRY_ASSIGN(Bytes bytes, image_.Page(pgno));
    Pgno next(LoadBe32(bytes.data()));
    if (left > 1) {
      TRY(InRange(pgno, next));
      update_.links.push_back({next, pgno});
    }
    pgno = next;
  }
  return Ok();
}

}  // namespace runnel::feed
