// May this LTX be archived behind what is there? A pure function. Nothing that does not continue the archive's position
// gets in, whatever a bus did; where the check has to rely on the publisher (an LTX of all pages changed since an older
// TXID), the archive is proven by its next snapshot.
#pragma once

#include "bus/envelope.h"
#include "ltx/format/header.h"
#include "ltx/format/types.h"

namespace runnel::archive {

enum class Admission {
  kNext,       // continues the position exactly
  kOverlaps,   // starts before and ends behind it, and holds every page that changed since its start
  kImage,      // a snapshot that ends behind it
  kDuplicate,  // ends at or before it
  kGap,        // starts behind the next TXID, or nothing is archived yet and it is no snapshot
  kFork,       // next by number, but made from another image
};

// `ours` with TXID 0: nothing is archived yet.
Admission Admit(const Position& ours, const ltx::Header& header, bus::Origin origin);

}  // namespace runnel::archive
