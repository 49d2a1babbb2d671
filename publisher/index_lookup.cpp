#include "publisher/index_lookup.h"

#include <algorithm>
#include <string>

namespace runnel::publisher {

using sqlite::LiveDb;

namespace {

constexpr size_t kHashOffset = 16384;
constexpr size_t kPgnosOffsetInBlock0 = 136;

// One block of the wal-index: page numbers in frame order, then the hash slots. Both are read while a writer may
// append.
struct Block {
  const std::byte* start;
  uint32_t first_frame;  // frames before it
  const std::byte* pgnos;

  uint32_t PgnoOf(uint32_t index) const {  // from 0
    return __atomic_load_n(reinterpret_cast<const uint32_t*>(pgnos) + index, __ATOMIC_RELAXED);
  }
  uint32_t Slot(uint32_t key) const {
    return __atomic_load_n(reinterpret_cast<const uint16_t*>(start + kHashOffset) + key, __ATOMIC_RELAXED);
  }
};

Result<Block> BlockAt(LiveDb& db, uint32_t index) {
  TRY_ASSIGN(std::byte * start, db.IndexBlock(index, false));
  if (start == nullptr) {
    return Error(Errc::kCorrupt, db.path() + ": wal-index block " + std::to_string(index) + " is missing");
  }
  return Block{start, sqlite::FramesBefore(index), start + (index == 0 ? kPgnosOffsetInBlock0 : 0)};
}

Result<uint32_t> NewestInBlock(const LiveDb& db, const Block& block, Pgno pgno, uint32_t last_frame) {
  uint32_t best = 0;
  uint32_t key = sqlite::HashOfPage(pgno.raw());
  for (uint32_t probes = 0; probes < sqlite::kHashSlots; ++probes) {
    uint32_t slot = block.Slot(key);
    if (slot == 0) return best;
    uint32_t frame = block.first_frame + slot;
    if (slot <= sqlite::kFramesPerBlock && frame <= last_frame && block.PgnoOf(slot - 1) == pgno.raw()) {
      best = std::max(best, frame);
    }
    key = (key + 1) & (sqlite::kHashSlots - 1);
  }
  return Error(Errc::kCorrupt, db.path() + ": wal-index hash table has no free slot");
}

}  // namespace

Result<uint32_t> NewestFrameOf(LiveDb& db, Pgno pgno, uint32_t last_frame) {
  if (last_frame == 0) return uint32_t{0};
  for (uint32_t index = sqlite::BlockOfFrame(last_frame) + 1; index-- > 0;) {
    TRY_ASSIGN(Block block, BlockAt(db, index));
    TRY_ASSIGN(uint32_t frame, NewestInBlock(db, block, pgno, last_frame));
    if (frame != 0) return frame;
  }
  return uint32_t{0};
}

Result<std::vector<PageSource>> NewestFrames(LiveDb& db, uint32_t last_frame) {
  std::vector<PageSource> frames;
  frames.reserve(last_frame);
  for (uint32_t frame = 1; frame <= last_frame;) {
    uint32_t index = sqlite::BlockOfFrame(frame);
    TRY_ASSIGN(Block block, BlockAt(db, index));
    uint32_t end = std::min(last_frame, sqlite::FramesBefore(index + 1));
    for (; frame <= end; ++frame) frames.push_back({Pgno(block.PgnoOf(frame - block.first_frame - 1)), frame});
  }
  KeepNewest(frames);
  return frames;
}

}  // namespace runnel::publisher
