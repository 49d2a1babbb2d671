// Which objects of an archive a restore reads. Pure: no store, no clock.
//
// An object is one of two kinds. A *level* object is one LTX file and leads from any TXID of min-1 to max-1 to exactly
// max. A *segment* holds an LTX file for (nearly) every commit and leads to any TXID within min to max; whether the one
// asked for is really the end of a file in it is known when its records are read.
//
// The cheapest chain is taken: bytes, and for each object as much as a connection reads in the time of a request. So an
// archive of small objects is restored from the fewest of them, and hundreds of megabytes of log are not read to save
// one request.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::restore {

struct PlanObject {
  Txid min_txid;
  Txid max_txid;
  uint64_t bytes = 0;
  bool segment = false;
  uint8_t level = 0;  // of level objects; 9 is a snapshot
};

// What reading one more object costs, in bytes.
inline constexpr uint64_t kObjectCostBytes = uint64_t{4} << 20;

struct PlanStep {
  size_t object = 0;  // index into what was given
  Txid after;         // what is known before it
  Txid upto;          // where it leads: its max_txid, or less for a segment
  bool operator==(const PlanStep&) const = default;
};

// Oldest first. `from` 0: nothing is there, the chain begins with an object of min_txid 1. Else an image of `from` is.
// Errors: kNotFound, naming the TXIDs around the target that can be reached. Takes n log n.
Result<std::vector<PlanStep>> PlanRestore(std::span<const PlanObject> objects, Txid target, Txid from = Txid());

// The TXIDs that can be reached, nearest to the target: at or before it, and behind it.
struct Reachable {
  std::optional<Txid> at_or_before;
  std::optional<Txid> behind;
};
Reachable ReachableAround(std::span<const PlanObject> objects, Txid target, Txid from = Txid());

// The newest TXID that can be reached. Errors: kNotFound (none); kGap when the archive holds later objects that nothing
// leads to: the message says from where to where.
Result<Txid> NewestReachable(std::span<const PlanObject> objects, Txid from = Txid());

// "... can be reached before it, ... behind it": the end of a sentence that says what cannot.
std::string Describe(const Reachable& reachable);

}  // namespace runnel::restore
