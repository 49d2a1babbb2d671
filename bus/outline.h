// What a message carries, told without copying or checking its bytes: for finding a TXID or a snapshot in a long log.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "bus/envelope.h"
#include "ltx/base/result.h"

namespace runnel::bus {

struct EntryOutline {
  Txid min_txid;
  Txid max_txid;
  Origin origin = Origin::kCommit;
};

struct Outline {
  enum class Carries { kEntries, kChunk, kNothing };

  Header header;
  Carries carries = Carries::kNothing;  // kNothing also for kinds this program does not know
  std::vector<EntryOutline> entries;    // of a chunk: exactly one, the file it is part of
  uint32_t chunk_index = 0;
  bool chunk_last = false;
  bool refers = false;  // to an image in an archive: a SnapshotRef that Decode takes; it carries nothing
};

// Errors: as Decode. A message that Decode takes is taken here; the reverse is not promised.
Result<Outline> DecodeOutline(std::string_view payload);

}  // namespace runnel::bus
