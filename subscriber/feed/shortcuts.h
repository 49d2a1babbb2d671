// Steps of the algorithm that can be left out. Each looks like an optimisation and loses rows (README.md); they exist
// so that the tests can show that they would notice. The product never sets one.
#pragma once

namespace runnel::feed {

struct Shortcuts {
  bool no_ancestors = false;       // mark the changed pages only, not the path above them
  bool no_freed_rows = false;      // do not read old pages that were freed without being written
  bool no_overflow_links = false;  // leave overflow pages out of the map
  bool no_origin_check = false;    // believe that an unmarked page was in this tree before
  bool no_forgetting = false;      // believe that a leaf known once hangs in its tree for ever
  bool no_order = false;           // deletes, inserts and updates as they come
};

}  // namespace runnel::feed
