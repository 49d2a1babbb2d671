#include "subscriber/archive/admission.h"

namespace runnel::archive {

Admission Admit(const Position& ours, const ltx::Header& header, bus::Origin origin) {
  if (header.max_txid <= ours.txid) return Admission::kDuplicate;
  if (header.IsSnapshot()) return Admission::kImage;
  if (ours.txid == Txid() || header.min_txid > ours.txid.Next()) return Admission::kGap;
  if (header.min_txid == ours.txid.Next()) {
    return header.pre_apply_checksum == ours.checksum ? Admission::kNext : Admission::kFork;
  }
  const bool whole = origin == bus::Origin::kDelta || origin == bus::Origin::kRange;
  return whole ? Admission::kOverlaps : Admission::kFork;
}

}  // namespace runnel::archive
