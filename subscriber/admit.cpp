#include "subscriber/admit.h"

namespace runnel::subscriber {

Admission Admit(const Position& ours, const ltx::Header& header, bus::Origin origin) {
  if (header.max_txid <= ours.txid) return Admission::kDuplicate;
  if (header.IsSnapshot()) return Admission::kCovers;
  if (header.min_txid > ours.txid.Next()) return Admission::kGap;
  if (header.min_txid == ours.txid.Next() && header.pre_apply_checksum == ours.checksum) return Admission::kNext;
  // A range overlapping us holds every page written in it, also those written after our position: the union is
  // complete.
  if (origin == bus::Origin::kDelta || origin == bus::Origin::kRange) return Admission::kCovers;
  return Admission::kFork;
}

}  // namespace runnel::subscriber
