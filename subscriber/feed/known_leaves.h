// Commits that change rows in place need no walk down their trees: a leaf that is known to hang in a tree (page_map.h,
// I3) still hangs there, at the same place, if no page above it is in the commit.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/base/result.h"
#include "subscriber/feed/tree_diff.h"

namespace runnel::feed {

struct TreeLeaf {
  Pgno root;
  int64_t first_rowid = 0;  // in the image before
  Pgno pgno;
};

// The leaves of the commit, tree by tree, each in the order of the tree. A tree of which anything else is in the
// commit, or of which a page is no longer a leaf, is left out: it must be walked. REQUIRES: the schema is the same.
void FindKnownLeaves(const CommitView& view, std::vector<TreeLeaf>& leaves);

// What the map must no longer know as leaves though it is not in the commit: subtrees of the image before that hung
// below a page of the commit and are not in `links`. `forgotten` may also hold pages that stayed where they were.
// REQUIRES: forgotten has room and is empty.
void FindForgottenPages(const CommitView& view, const Links& links, PageSet& forgotten);

}  // namespace runnel::feed
