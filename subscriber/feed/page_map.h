// The map page -> parent, which answers for a changed page which table it belongs to.
//
//   b-tree page of a table            its parent page, 0 for a root
//   first overflow page of a cell     the page that holds the cell
//   any later overflow page           the overflow page before it
//   everything else                   0, or stale: pages of secondary indexes, free pages, pointer map
//
// I1  For every page of a live table tree the entry is right. A page freed without being written keeps its old entry;
//     such an entry can only mark too much, never too little.
// I2  The map is always that of one image. Check collects what a commit changes and touches nothing; Apply cannot fail.
// I3  A page known as a leaf is one of a live tree of a rowid table. Not all of them need be known: what a commit may
//     have freed without writing it is forgotten, and a walk that meets it again brings it back.
// Cost: 4 bytes and a bit a page here, and a bit a page in each of the sets of a commit. THREAD: one.
#pragma once

#include <cstdint>
#include <optional>
#include <utility>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/sqlite/btree.h"
#include "subscriber/feed/page_bits.h"
#include "subscriber/feed/page_set.h"
#include "subscriber/feed/shortcuts.h"

namespace runnel::feed {

// What a commit can have changed: its pages and all their ancestors in the image before.
struct Marks {
  PageSet dirty;
  std::vector<Pgno> roots;  // where the ways up ended, sorted: roots of tables, or pages of no table
  std::vector<std::pair<uint32_t, uint32_t>> edges;  // (parent, child) of each way up, sorted
  // Every page of the commit is a known leaf, or a page without a parent (a root, or no part of a table).
  bool only_leaves = true;

  void Clear();
};

using Links = std::vector<std::pair<Pgno, Pgno>>;  // page, its new parent

class PageMap {
 public:
  // The map of an image. Errors: kCorrupt (the trees below these roots are not a forest).
  static Result<PageMap> Build(const sqlite::Image& image, const std::vector<Pgno>& roots, const Shortcuts& shortcuts);

  Pgno ParentOf(Pgno pgno) const { return Pgno(pgno.raw() < parents_.size() ? parents_[pgno.raw()] : 0); }
  // Where the way up from a b-tree page ends; some page that is no root if the entries on it are stale.
  Pgno RootOf(Pgno pgno) const;

  // Marks `changed` and their ancestors. `before_count`: pages of the image before. REQUIRES: marks is empty.
  void Mark(const PageSet& changed, uint32_t before_count, uint32_t after_count, const Shortcuts& shortcuts,
            Marks& marks) const;

  // Asks for the memory that the next questions about this page need.
  void Fetch(Pgno pgno) const {
    if (pgno.raw() >= parents_.size()) return;
    __builtin_prefetch(&parents_[pgno.raw()]);
    leaves_.Fetch(pgno);
  }
  bool KnowsLeaf(Pgno pgno) const { return leaves_.Contains(pgno); }
  void ForgetLeaves() { leaves_.ClearAll(); }

  struct Update {
    Links links;
    std::vector<Pgno> leaves;  // of tables, that a walk has met
  };
  // `visited`: the pages of `changed` that are part of a table tree now. `forgotten`: pages that may be no leaves of a
  // table any more.
  void Apply(const Update& update, const PageSet& changed, const PageSet& visited, const PageSet& forgotten,
             uint32_t after_count);

  // A page of `fresh`, built anew from the same image, about which this map is wrong.
  std::optional<Pgno> FirstDifference(const PageMap& fresh) const;
  size_t bytes() const { return parents_.capacity() * sizeof(uint32_t); }

 private:
  std::vector<uint32_t> parents_;  // by page number
  PageBits leaves_;
};

// Appends the places of the marked children of an interior table page that the commit did not change, in order. An edge
// may be stale, so each is confirmed in the page: by binary search for the child's first rowid, else by looking at all
// pointers.
Status AppendMarkedChildren(const sqlite::Image& before, const sqlite::BtreePage& page, const Marks& marks,
                            std::vector<uint32_t>& places);

}  // namespace runnel::feed
