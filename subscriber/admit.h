// May this LTX be applied to our image? A pure function, the second line of every fence: whatever a bus did, nothing
// passes that does not continue exactly what we have.
#pragma once

#include "bus/envelope.h"
#include "ltx/format/header.h"
#include "ltx/format/types.h"

namespace runnel::subscriber {

enum class Admission {
  kNext,    // continues our position exactly
  kCovers,  // starts before and ends behind it, and holds every page that differs since its start: apply, then verify
  kDuplicate,  // ends at or before our position
  kGap,        // starts behind our next TXID
  kFork,       // next by number, but made from another image
};

// `origin` says how the page set came to be: ranges, deltas and snapshots hold every page that changed anywhere in
// them, so one that overlaps us may be applied over any image since its start; the post-apply checksum proves it before
// anybody sees it.
Admission Admit(const Position& ours, const ltx::Header& header, bus::Origin origin);

}  // namespace runnel::subscriber
