// What a restore reads: LTX files, wherever they lie in an object store.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ltx/format/types.h"

namespace runnel::restore {

// One LTX file: a whole object, or a piece of a segment.
struct Part {
  uint64_t offset = 0;  // in the object
  uint64_t bytes = 0;
  // What its header must say.
  Txid min_txid;
  Txid max_txid;
  // The database's checksum behind it, where somebody has noted it: then its trailer and the image must agree.
  std::optional<Checksum> checksum = std::nullopt;
};

// A stretch of one object that is fetched as one, with the LTX files in it, newest first. Several files only when the
// stretch fits into one block (assembler.h), so that they can be taken in that order from memory.
struct Piece {
  std::string key;
  uint64_t offset = 0;
  uint64_t bytes = 0;
  std::vector<Part> parts;
};

}  // namespace runnel::restore
