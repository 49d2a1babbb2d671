#include "subscriber/feed/page_map.h"

#include <algorithm>

#include "subscriber/feed/map_walk.h"

namespace runnel::feed {
namespace {

// Stale entries can form cycles; a right way up a b-tree is shorter than this.
constexpr int kWayUpMax = 2 * static_cast<int>(sqlite::kTreeDepthMax);

// More marked children than this share of the pointers: one look at all pointers is cheaper than a search each.
constexpr size_t kSearchCost = 8;

// The first cell of an interior table page whose rowid is not below `rowid`; cell_count(): none. Rowids are mostly
// given out one by one, so a guess by proportion comes close, and halving goes on from there.
Result<uint32_t> FindPlace(const sqlite::BtreePage& page, int64_t rowid) {
  uint32_t low = 0;
  uint32_t high = page.cell_count();
  if (high == 0) return high;
  sqlite::Cell first;
  sqlite::Cell last;
  TRY(page.ReadCell(0, first));
  TRY(page.ReadCell(high - 1, last));
  if (rowid > last.rowid) return high;
  if (rowid <= first.rowid) return 0u;
  const double share = (static_cast<double>(rowid) - static_cast<double>(first.rowid)) /
                       (static_cast<double>(last.rowid) - static_cast<double>(first.rowid));
  uint32_t guess = static_cast<uint32_t>(std::clamp(share, 0.0, 1.0) * (high - 1));
  uint32_t step = 1;
  sqlite::Cell key;
  while (low < high) {
    guess = std::clamp(guess, low, high - 1);
    TRY(page.ReadCell(guess, key));
    if (key.rowid >= rowid) {
      high = guess;
      guess = step < high - low ? high - step : (low + high) / 2;
    } else {
      low = guess + 1;
      guess = step < high - low ? low + step - 1 : (low + high) / 2;
    }
    step *= 4;
  }
  return low;
}

// Where in `page` the child `child` hangs, if its first rowid leads there.
Result<std::optional<uint32_t>> FindChild(const sqlite::Image& before, const sqlite::BtreePage& page, Pgno child) {
  if (child.raw() > before.page_count()) return std::optional<uint32_t>();
  TRY_ASSIGN(Bytes bytes, before.Page(child));
  Result<sqlite::BtreePage> node = sqlite::BtreePage::Parse(before.layout(), child, bytes);
  if (!node.ok() || !node->table() || node->cell_count() == 0) return std::optional<uint32_t>();
  sqlite::Cell first;
  if (!node->ReadCell(0, first).ok()) return std::optional<uint32_t>();
  TRY_ASSIGN(uint32_t place, FindPlace(page, first.rowid));
  TRY_ASSIGN(Pgno there, page.Child(place));
  return there == child ? std::optional<uint32_t>(place) : std::nullopt;
}

}  // namespace

void Marks::Clear() {
  dirty.Clear();
  roots.clear();
  edges.clear();
  only_leaves = true;
}

Result<PageMap> PageMap::Build(const sqlite::Image& image, const std::vector<Pgno>& roots, const Shortcuts& shortcuts) {
  PageMap map;
  PageSet visited;
  visited.Reserve(image.page_count());
  map.parents_.assign(size_t{image.page_count()} + 1, 0);
  map.leaves_.Resize(image.page_count());
  auto take = [&map](const Update& update) {
    for (const std::pair<Pgno, Pgno>& link : update.links) map.parents_[link.first.raw()] = link.second.raw();
    for (Pgno leaf : update.leaves) map.leaves_.Set(leaf);
  };
  MapWalk walk(image, shortcuts, visited, take);
  for (Pgno root : roots) TRY(walk.Tree(root));
  take(walk.TakeUpdate());
  return map;
}

Pgno PageMap::RootOf(Pgno pgno) const {
  for (int steps = 0; steps < kWayUpMax; ++steps) {
    Pgno parent = ParentOf(pgno);
    if (parent.raw() == 0) break;
    pgno = parent;
  }
  return pgno;
}

void PageMap::Mark(const PageSet& changed, uint32_t before_count, uint32_t after_count, const Shortcuts& shortcuts,
                   Marks& marks) const {
  marks.dirty.Reserve(std::max(before_count, after_count));
  for (Pgno pgno : changed.members()) {
    if (!KnowsLeaf(pgno) && ParentOf(pgno) != Pgno(0)) marks.only_leaves = false;
    while (marks.dirty.Add(pgno)) {
      Pgno parent = pgno.raw() > before_count ? Pgno(0) : ParentOf(pgno);
      if (parent.raw() > before_count) parent = Pgno(0);  // stale: the database was larger once
      if (parent.raw() == 0) marks.roots.push_back(pgno);
      if (parent.raw() == 0 || shortcuts.no_ancestors) break;
      marks.edges.push_back({parent.raw(), pgno.raw()});
      pgno = parent;
    }
  }
  std::sort(marks.roots.begin(), marks.roots.end());
  std::sort(marks.edges.begin(), marks.edges.end());
}

void PageMap::Apply(const Update& update, const PageSet& changed, const PageSet& visited, const PageSet& forgotten,
                    uint32_t after_count) {
  const size_t size = size_t{after_count} + 1;
  if (parents_.size() < size) {
    parents_.resize(size, 0);
    leaves_.Resize(after_count);
  }
  for (Pgno pgno : forgotten.members()) leaves_.Reset(pgno);
  for (Pgno pgno : changed.members()) {
    leaves_.Reset(pgno);
    if (!visited.Contains(pgno)) parents_[pgno.raw()] = 0;
  }
  for (const std::pair<Pgno, Pgno>& link : update.links) parents_[link.first.raw()] = link.second.raw();
  for (Pgno leaf : update.leaves) leaves_.Set(leaf);
  if (parents_.size() == size) return;
  parents_.resize(size);
  leaves_.Resize(after_count);
}

std::optional<Pgno> PageMap::FirstDifference(const PageMap& fresh) const {
  for (uint32_t i = 1; i < fresh.parents_.size(); ++i) {
    if (fresh.parents_[i] != 0 && ParentOf(Pgno(i)).raw() != fresh.parents_[i]) return Pgno(i);
    if (KnowsLeaf(Pgno(i)) && !fresh.KnowsLeaf(Pgno(i))) return Pgno(i);
  }
  return std::nullopt;
}

Status AppendMarkedChildren(const sqlite::Image& before, const sqlite::BtreePage& page, const Marks& marks,
                            std::vector<uint32_t>& places) {
  const size_t start = places.size();
  auto first = std::lower_bound(marks.edges.begin(), marks.edges.end(), std::make_pair(page.pgno().raw(), 0u));
  auto last = first;
  while (last != marks.edges.end() && last->first == page.pgno().raw()) ++last;
  bool look_at_all = static_cast<size_t>(last - first) * kSearchCost > page.cell_count();
  for (; first != last && !look_at_all; ++first) {
    TRY_ASSIGN(std::optional<uint32_t> place, FindChild(before, page, Pgno(first->second)));
    if (place) {
      places.push_back(*place);
    } else {
      look_at_all = true;
    }
  }
  if (look_at_all) {
    places.resize(start);
    for (uint32_t i = 0; i <= page.cell_count(); ++i) {
      TRY_ASSIGN(Pgno child, page.Child(i));
      if (marks.dirty.Contains(child)) places.push_back(i);
    }
  }
  std::sort(places.begin() + static_cast<std::ptrdiff_t>(start), places.end());
  return Ok();
}

}  // namespace runnel::feed
