// Walks the trees of an image, all of them or the part that a commit can have changed; refuses what is not a forest,
// and collects the links for the page map and the spots where the diff begins.
#pragma once

#include <functional>
#include <span>
#include <utility>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/sqlite/btree.h"
#include "subscriber/feed/known_leaves.h"
#include "subscriber/feed/page_map.h"
#include "subscriber/feed/spots.h"

namespace runnel::feed {

// THREAD: one. LIFETIME: everything handed in.
class MapWalk {
 public:
  // The whole trees; what was found is handed to `drain` whenever it is much. REQUIRES: visited has room and is empty.
  using Drain = std::function<void(const PageMap::Update&)>;
  MapWalk(const sqlite::Image& image, const Shortcuts& shortcuts, PageSet& visited, Drain drain)
      : image_(image), shortcuts_(shortcuts), visited_(visited), drain_(std::move(drain)) {}
  // The image after a commit: pages of `changed`, and others only on the way to them.
  MapWalk(const sqlite::Image& image, const sqlite::Image& before, const PageSet& changed, const Marks& marks,
          const Shortcuts& shortcuts, PageSet& visited, Spots& spots)
      : image_(image),
        shortcuts_(shortcuts),
        visited_(visited),
        before_(&before),
        changed_(&changed),
        marks_(&marks),
        spots_(&spots) {}

  // Errors: kCorrupt (a page used twice, a number out of range, too deep).
  Status Tree(Pgno root);

  // The same for a tree of which only these leaves are in the commit, in its order. Errors: kCorrupt.
  Status Leaves(Pgno root, std::span<const TreeLeaf> leaves);

  // Parents of all pages that hang below a page of the commit, and the leaves that were met, without what was drained.
  PageMap::Update TakeUpdate() { return std::move(update_); }

 private:
  struct Node {
    sqlite::BtreePage page;
    uint32_t depth = 0;
    bool changed = false;  // in the commit
    bool inside = false;   // it, or a page above it
  };
  bool Changed(Pgno pgno) const { return changed_ == nullptr || changed_->Contains(pgno); }
  bool Marked(Pgno pgno) const { return marks_ == nullptr || marks_->dirty.Contains(pgno); }
  Status Visit(Pgno pgno);
  Status InRange(Pgno from, Pgno to) const;
  Status Walk(Pgno pgno, uint32_t depth, bool inside);
  Status WalkMarkedChildren(const Node& node);
  Status WalkChild(const Node& node, uint32_t place);
  Status WalkOverflow(const Node& node, uint32_t index, const sqlite::Cell& cell);
  Status WalkLeaf(const Node& node);
  Status WalkChain(const sqlite::Cell& cell);

  const sqlite::Image& image_;
  const Shortcuts& shortcuts_;
  PageSet& visited_;
  const sqlite::Image* before_ = nullptr;
  const PageSet* changed_ = nullptr;
  const Marks* marks_ = nullptr;
  Spots* spots_ = nullptr;
  Drain drain_;
  PageMap::Update update_;
  std::vector<uint32_t> places_;  // a stack: of each page on the way its marked children
};

}  // namespace runnel::feed
