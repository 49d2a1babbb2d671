#include "subscriber/feed/known_leaves.h"

#include <algorithm>

namespace runnel::feed {

using sqlite::BtreePage;

namespace {

bool IsTableLeaf(const Result<BtreePage>& page) { return page.ok() && page->leaf() && page->table(); }

// False: the page is not, or no longer, a leaf of a table.
bool Describe(const CommitView& view, TreeLeaf& leaf) {
  Result<BtreePage> before = BtreePage::Read(view.before, leaf.pgno);
  if (!IsTableLeaf(before) || !IsTableLeaf(BtreePage::Read(view.after, leaf.pgno))) return false;
  if (before->cell_count() == 0) return true;
  sqlite::Cell first;
  if (!before->ReadCell(0, first).ok()) return false;
  leaf.first_rowid = first.rowid;
  return true;
}

// Adds a subtree of the image before. The numbers may be any: what is no tree ends, for each page is added once.
void Forget(const CommitView& view, Pgno pgno, uint32_t depth, PageSet& forgotten) {
  if (pgno.raw() == 0 || pgno.raw() > view.before.page_count() || view.changed.Contains(pgno)) return;
  if (!forgotten.Add(pgno) || view.map.KnowsLeaf(pgno) || depth >= sqlite::kTreeDepthMax) return;
  Result<BtreePage> page = BtreePage::Read(view.before, pgno);
  if (!page.ok() || page->leaf() || !page->table()) return;
  for (uint32_t i = 0; i <= page->cell_count(); ++i) {
    Result<Pgno> child = page->Child(i);
    if (child.ok()) Forget(view, *child, depth + 1, forgotten);
  }
}

}  // namespace

void FindKnownLeaves(const CommitView& view, std::vector<TreeLeaf>& leaves) {
  leaves.clear();
  if (!view.marks.only_leaves) return;
  std::vector<Pgno> walked;  // roots of trees to be left out
  for (Pgno pgno : view.changed.members()) {
    if (!view.map.KnowsLeaf(pgno)) continue;
    TreeLeaf leaf{view.map.RootOf(pgno), INT64_MIN, pgno};
    const bool above = view.changed.Contains(leaf.root) && !view.map.KnowsLeaf(leaf.root);
    if (!above && Describe(view, leaf)) {
      leaves.push_back(leaf);
    } else if (walked.empty() || walked.back() != leaf.root) {
      walked.push_back(leaf.root);
    }
  }
  std::sort(walked.begin(), walked.end());
  if (!walked.empty()) {
    std::erase_if(leaves, [&walked](const TreeLeaf& leaf) {
      return std::binary_search(walked.begin(), walked.end(), leaf.root);
    });
  }
  std::sort(leaves.begin(), leaves.end(), [](const TreeLeaf& a, const TreeLeaf& b) {
    return std::pair(a.root, a.first_rowid) < std::pair(b.root, b.first_rowid);
  });
}

void FindForgottenPages(const CommitView& view, const Links& links, PageSet& forgotten) {
  std::vector<Pgno> linked;
  for (Pgno pgno : view.changed.members()) {
    if (pgno.raw() > view.before.page_count() || view.map.KnowsLeaf(pgno)) continue;
    Result<BtreePage> page = BtreePage::Read(view.before, pgno);
    if (!page.ok() || page->leaf() || !page->table()) continue;
    if (linked.empty()) {
      for (const std::pair<Pgno, Pgno>& link : links) linked.push_back(link.first);
      std::sort(linked.begin(), linked.end());
    }
    for (uint32_t i = 0; i <= page->cell_count(); ++i) {
      Result<Pgno> child = page->Child(i);
      if (!child.ok() || std::binary_search(linked.begin(), linked.end(), *child)) continue;
      Forget(view, *child, 0, forgotten);
    }
  }
}

}  // namespace runnel::feed
