// Walks the trees of an image, all of them or the part that a commit can have changed; refuses what is not a forest,
// and collects the links for the page map.
#pragma once

#include "ltx/base/result.h"
#include "ltx/sqlite/btree.h"
#include "subscriber/feed/page_map.h"

namespace runnel::feed {

// THREAD: one. LIFETIME: everything handed in.
class MapWalk {
 public:
  // The whole trees. REQUIRES: visited has room and is empty.
  MapWalk(const sqlite::Image& image, const Shortcuts& shortcuts, PageSet& visited)
      : image_(image), shortcuts_(shortcuts), visited_(visited) {}
  // The image after a commit: pages of `changed`, and others only on the way to them.
  MapWalk(const sqlite::Image& image, const sqlite::Image& before, const PageSet& changed, const Marks& marks,
          const Shortcuts& shortcuts, PageSet& visited)
      : image_(image), shortcuts_(shortcuts), visited_(visited), before_(&before), changed_(&changed), marks_(&marks) {}

  // Errors: kCorrupt (a page used twice, a number out of range, too deep).
  Status Tree(Pgno root);

  // Parents of all pages that hang below a page of the commit. LIFETIME: this.
  const Links& links() const { return links_; }

 private:
  bool Changed(Pgno pgno) const { return changed_ == nullptr || changed_->Contains(pgno); }
  bool Marked(Pgno pgno) const { return marks_ == nullptr || marks_->dirty.Contains(pgno); }
  Status Visit(Pgno pgno);
  Status InRange(Pgno from, Pgno to) const;
  Status Walk(Pgno pgno, uint32_t depth);
  Status WalkChildren(const sqlite::BtreePage& page, uint32_t depth);
  Status WalkOverflow(const sqlite::BtreePage& page);
  Status WalkChain(const sqlite::Cell& cell);

  const sqlite::Image& image_;
  const Shortcuts& shortcuts_;
  PageSet& visited_;
  const sqlite::Image* before_ = nullptr;
  const PageSet* changed_ = nullptr;
  const Marks* marks_ = nullptr;
  Links links_;
};

}  // namespace runnel::feed
