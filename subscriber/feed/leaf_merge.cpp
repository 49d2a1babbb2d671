#include "subscriber/feed/leaf_merge.h"

namespace runnel::feed {

using sqlite::BtreePage;
using sqlite::CellAt;

LeafMerge::LeafMerge(const BtreePage& before, const BtreePage& after, const PageSet& dirty,
                     std::optional<Difference> difference)
    : dirty_(dirty), before_(before), after_(after), in_place_(before.SamePointers(after)) {
  if (in_place_) difference_ = difference ? *difference : Difference::Of(before.bytes(), after.bytes());
}

Status LeafMerge::Side::Load() {
  if (loaded) return Ok();
  TRY(page.ReadCell(index, cell));
  if (any && cell.rowid <= last) return sqlite::PageError(page.pgno(), "rowids out of order");
  loaded = true;
  return Ok();
}

Status LeafMerge::Side::StartAt(uint32_t place) {
  loaded = false;
  index = place;
  any = place > 0;
  if (!any) return Ok();
  TRY(page.ReadCell(place - 1, cell));
  last = cell.rowid;
  return Ok();
}

// REQUIRES: loaded.
void LeafMerge::Side::Pass() {
  any = true;
  last = cell.rowid;
  loaded = false;
  ++index;
}

CellAt LeafMerge::Side::Take() {
  CellAt at{page.pgno(), cell};
  Pass();
  return at;
}

bool LeafMerge::Equal() const {
  const sqlite::Cell& a = before_.cell;
  const sqlite::Cell& b = after_.cell;
  if (a.payload_bytes != b.payload_bytes || a.overflow != b.overflow) return false;
  if (a.overflow.raw() != 0 && dirty_.Contains(a.overflow)) return false;
  return AsText(a.local) == AsText(b.local);
}

// Of the cell of the page after, without reading it: most of a page is passed over so.
bool LeafMerge::MayBeTouched() const {
  const uint32_t end = after_.page.UsualCellEnd(after_.index);
  return end == 0 || difference_.Touches(after_.page.CellStart(after_.index), end);
}

// Whether the cell of the page after can be another one in the page before.
bool LeafMerge::Touched() const {
  const sqlite::Cell& cell = after_.cell;
  const size_t begin = after_.page.CellStart(after_.index);
  size_t end = static_cast<size_t>(cell.local.data() - after_.page.bytes().data()) + cell.local.size();
  if (cell.overflow.raw() != 0) {
    if (dirty_.Contains(cell.overflow)) return true;
    end += sizeof(uint32_t);  // the number of its first overflow page
  }
  return difference_.Touches(begin, end);
}

// The same bytes at the same place are the same cell.
Result<bool> LeafMerge::NextInPlace(CellChange& change) {
  for (; !after_.AtEnd(); ++after_.index) {
    if (!MayBeTouched()) continue;
    TRY(after_.StartAt(after_.index));
    TRY(after_.Load());
    if (!Touched()) continue;
    TRY(before_.StartAt(after_.index));
    TRY(before_.Load());
    if (before_.cell.rowid != after_.cell.rowid) {
      in_place_ = false;
      return false;
    }
    if (Equal()) continue;
    change = {before_.Take(), after_.Take()};
    return true;
  }
  return false;
}

Result<bool> LeafMerge::Next(CellChange& change) {
  if (in_place_) {
    TRY_ASSIGN(bool found, NextInPlace(change));
    if (found || in_place_) return found;
  }
  while (!before_.AtEnd() || !after_.AtEnd()) {
    if (!before_.AtEnd()) TRY(before_.Load());
    if (!after_.AtEnd()) TRY(after_.Load());
    const bool take_before = !before_.AtEnd() && (after_.AtEnd() || before_.cell.rowid <= after_.cell.rowid);
    const bool take_after = !after_.AtEnd() && (before_.AtEnd() || after_.cell.rowid <= before_.cell.rowid);
    if (take_before && take_after && Equal()) {
      before_.Pass();
      after_.Pass();
      continue;
    }
    change = CellChange();
    if (take_before) change.before = before_.Take();
    if (take_after) change.after = after_.Take();
    return true;
  }
  return false;
}

}  // namespace runnel::feed
