// The part of a live wal-index that says which page is in which frame: page-number arrays and hash slots, written in
// the order SQLite's readers rely on (wal.c walIndexAppend, walFindFrame, walCleanupHash).
//
// I1  Entries beyond the published max_frame are invisible: readers ignore them.
// I2  Before the first Append of a transaction no entry beyond max_frame exists (Clean was called since the last writer
//     died or gave up), so Append never has to clean in the middle and cannot wipe its own entries.
// THREAD: one at a time. REQUIRES: the WRITE lock for everything that stores.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "ltx/sqlite/live/live_db.h"

namespace runnel::replica {

class WalIndexMap {
 public:
  explicit WalIndexMap(sqlite::LiveDb& live) : live_(live) {}

  // Frames are appended in order. Errors: kCorrupt (hash table full of foreign entries), kIo (the index cannot grow).
  Status Append(uint32_t frame, Pgno pgno);
  // Removes the entries beyond `max_frame` from the block that holds it; later blocks are zeroed by their first Append.
  Status Clean(uint32_t max_frame);

  Result<Pgno> PageOf(uint32_t frame) const;
  // Newest frame <= max_frame that holds the page; 0: none.
  Result<uint32_t> FindFrame(Pgno pgno, uint32_t max_frame) const;

  // Recovery: the whole map, built aside and copied in at once, since readers with an open snapshot may be using equal
  // entries.
  class Rebuild {
   public:
    void Append(uint32_t frame, Pgno pgno);

   private:
    friend class WalIndexMap;
    std::vector<std::vector<std::byte>> blocks_;
  };
  Status Install(const Rebuild& rebuild);

 private:
  struct Block {
    uint32_t* pages = nullptr;  // [capacity]
    uint16_t* slots = nullptr;  // [kHashSlots]: frame number within the block, from 1; 0 free
    uint32_t frames_before = 0;
  };
  Result<Block> BlockOf(uint32_t frame, bool extend) const;
  static Block Layout(std::byte* start, uint32_t index);

  sqlite::LiveDb& live_;
};

}  // namespace runnel::replica
