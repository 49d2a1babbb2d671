#include "subscriber/replica/wal_index_map.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "ltx/base/check.h"
#include "ltx/sqlite/wal_index.h"

namespace runnel::replica {
namespace {

constexpr size_t kSlotsOffset = sqlite::kFramesPerBlock * sizeof(uint32_t);
constexpr size_t kBlock0PagesOffset = 136;  // behind the headers, see ltx/sqlite/wal_index.h

uint32_t Load(const uint32_t* p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
uint16_t Load(const uint16_t* p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }

}  // namespace

WalIndexMap::Block WalIndexMap::Layout(std::byte* start, uint32_t index) {
  Block block;
  block.pages = reinterpret_cast<uint32_t*>(start + (index == 0 ? kBlock0PagesOffset : 0));
  block.slots = reinterpret_cast<uint16_t*>(start + kSlotsOffset);
  block.frames_before = sqlite::FramesBefore(index);
  return block;
}

Result<WalIndexMap::Block> WalIndexMap::BlockOf(uint32_t frame, bool extend) const {
  uint32_t index = sqlite::BlockOfFrame(frame);
  TRY_ASSIGN(std::byte * start, live_.IndexBlock(index, extend));
  if (start == nullptr) {
    return Error(Errc::kCorrupt, live_.path() + ": wal-index ends before frame " + std::to_string(frame));
  }
  return Layout(start, index);
}

Status WalIndexMap::Append(uint32_t frame, Pgno pgno) {
  TRY_ASSIGN(Block block, BlockOf(frame, true));
  uint32_t index = frame - block.frames_before;
  if (index == 1) {
    std::byte* first = reinterpret_cast<std::byte*>(block.pages);
    std::byte* end = reinterpret_cast<std::byte*>(block.slots + sqlite::kHashSlots);
    std::memset(first, 0, static_cast<size_t>(end - first));
  }
  uint32_t slot = sqlite::HashOfPage(pgno.raw());
  // At most index - 1 slots are taken; more means that somebody else has written here.
  for (uint32_t taken = 0; Load(block.slots + slot) != 0; ++taken) {
    if (taken == index)
      return Error(Errc::kCorrupt, live_.path() + ": wal-index hash table is full of foreign entries");
    slot = (slot + 1) & (sqlite::kHashSlots - 1);
  }
  __atomic_store_n(block.pages + index - 1, pgno.raw(), __ATOMIC_RELAXED);
  __atomic_store_n(block.slots + slot, static_cast<uint16_t>(index), __ATOMIC_RELEASE);
  return Ok();
}

Status WalIndexMap::Clean(uint32_t max_frame) {
  if (max_frame == 0) return Ok();  // the next Append is frame 1 and zeroes the block
  TRY_ASSIGN(Block block, BlockOf(max_frame, false));
  uint32_t limit = max_frame - block.frames_before;
  for (uint32_t slot = 0; slot < sqlite::kHashSlots; ++slot) {
    if (Load(block.slots + slot) > limit) __atomic_store_n(block.slots + slot, uint16_t{0}, __ATOMIC_RELAXED);
  }
  std::byte* first = reinterpret_cast<std::byte*>(block.pages + limit);
  std::byte* end = reinterpret_cast<std::byte*>(block.slots);
  std::memset(first, 0, static_cast<size_t>(end - first));
  return Ok();
}

Result<Pgno> WalIndexMap::PageOf(uint32_t frame) const {
  TRY_ASSIGN(Block block, BlockOf(frame, false));
  return Pgno(Load(block.pages + (frame - block.frames_before) - 1));
}

Result<uint32_t> WalIndexMap::FindFrame(Pgno pgno, uint32_t max_frame) const {
  for (uint32_t last = max_frame; last > 0;) {
    TRY_ASSIGN(Block block, BlockOf(last, false));
    uint32_t found = 0;
    uint32_t slot = sqlite::HashOfPage(pgno.raw());
    for (uint32_t probes = 0; probes < sqlite::kHashSlots; ++probes) {
      uint32_t index = Load(block.slots + slot);
      if (index == 0) break;
      if (index <= last - block.frames_before && Load(block.pages + index - 1) == pgno.raw())
        found = std::max(found, index);
      slot = (slot + 1) & (sqlite::kHashSlots - 1);
    }
    if (found != 0) return block.frames_before + found;
    last = block.frames_before;
  }
  return uint32_t{0};
}

void WalIndexMap::Rebuild::Append(uint32_t frame, Pgno pgno) {
  uint32_t index = sqlite::BlockOfFrame(frame);
  if (blocks_.size() <= index) blocks_.resize(index + 1, std::vector<std::byte>(sqlite::kWalIndexBlockBytes));
  Block block = Layout(blocks_[index].data(), index);
  uint32_t slot = sqlite::HashOfPage(pgno.raw());
  while (block.slots[slot] != 0) slot = (slot + 1) & (sqlite::kHashSlots - 1);
  block.pages[frame - block.frames_before - 1] = pgno.raw();
  block.slots[slot] = static_cast<uint16_t>(frame - block.frames_before);
}

Status WalIndexMap::Install(const Rebuild& rebuild) {
  for (uint32_t index = 0; index < rebuild.blocks_.size(); ++index) {
    TRY_ASSIGN(std::byte * start, live_.IndexBlock(index, true));
    CHECK(start != nullptr, "extended wal-index has no block");
    size_t skip = index == 0 ? kBlock0PagesOffset : 0;
    std::memcpy(start + skip, rebuild.blocks_[index].data() + skip, sqlite::kWalIndexBlockBytes - skip);
  }
  return Ok();
}

}  // namespace runnel::replica
