// The LTX files of a log segment that a restore needs, as pieces for the assembler. Private to this room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/base/time.h"
#include "ltx/format/types.h"
#include "subscriber/archive/store/object_store.h"
#include "subscriber/restore/part.h"

namespace runnel::restore {

struct SegmentStretch {
  std::string key;
  uint64_t bytes = 0;    // of the segment
  Txid after;            // known before
  Txid upto;             // must be the end of a file
  uint64_t block_bytes;  // pieces of several files are no longer than this
};

// Newest first. Reads the segment's index and the records of the blocks concerned, not their files. Ends early at a
// file of TXID 1. Errors: kNotFound when `upto` lies within a file of several commits: names the TXIDs around it;
// kCorrupt; the store's.
Result<std::vector<Piece>> PiecesOfSegment(store::ObjectStore& store, const SegmentStretch& stretch);

// The newest TXID whose commit was captured at or before this moment; nullopt: none of this segment.
Result<std::optional<Txid>> NewestInSegment(store::ObjectStore& store, const std::string& key, uint64_t bytes,
                                            WallTime time);

}  // namespace runnel::restore
