// The words of capture: a place in the WAL, one commit found there, a pinned image.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/format/types.h"

namespace runnel::publisher {

// Behind `frame` committed frames of the WAL with these salts. Frame 0: before its first commit.
struct WalPosition {
  uint32_t salt[2] = {0, 0};  // raw bytes, as in the WAL file
  uint32_t frame = 0;
  uint32_t checksum[2] = {0, 0};  // running checksum there; {0, 0} = not known

  bool SameWal(const WalPosition& other) const { return salt[0] == other.salt[0] && salt[1] == other.salt[1]; }
  // The same place; the checksum follows from it.
  bool SamePlace(const WalPosition& other) const { return SameWal(other) && frame == other.frame; }
  bool checksum_known() const { return checksum[0] != 0 || checksum[1] != 0; }
};

struct PageSource {
  Pgno pgno;
  uint32_t frame = 0;  // 0: the database file, zeros past its end
};

// Sorts by page number and leaves the newest frame of each page.
void KeepNewest(std::vector<PageSource>& pages);

// One commit: its newest frame a page, ascending page numbers, none beyond page_count, no lock page. When page_count
// grew, the new pages without a frame of this commit are there too, with the source SQLite would read them from.
struct CommitFrames {
  WalPosition end;
  uint64_t wal_offset = 0;
  uint64_t wal_bytes = 0;
  uint32_t page_count = 0;
  std::vector<PageSource> pages;
};

// An exact image of the database, readable until the pin moves.
struct ImagePin {
  WalPosition at;
  uint32_t page_count = 0;
};

}  // namespace runnel::publisher
