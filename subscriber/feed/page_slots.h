// Page number -> slot, for the pages of a commit: open addressing, emptied at the cost of its members.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/format/types.h"

namespace runnel::feed {

// THREAD: one.
class PageSlots {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  uint32_t Find(Pgno pgno) const {
    if (count_ == 0) return kNone;
    for (size_t i = Home(pgno);; i = (i + 1) & mask_) {
      if (entries_[i].pgno == pgno.raw()) return entries_[i].slot;
      if (entries_[i].pgno == 0) return kNone;
    }
  }
  // Replaces what is there.
  void Put(Pgno pgno, uint32_t slot) {
    if ((count_ + 1) * 2 > entries_.size()) Grow();
    size_t i = Home(pgno);
    while (entries_[i].pgno != 0 && entries_[i].pgno != pgno.raw()) i = (i + 1) & mask_;
    if (entries_[i].pgno == 0) {
      ++count_;
      used_.push_back(static_cast<uint32_t>(i));
    }
    entries_[i] = {pgno.raw(), slot};
  }
  void Clear() {
    for (uint32_t i : used_) entries_[i] = {};
    used_.clear();
    count_ = 0;
  }

 private:
  struct Entry {
    uint32_t pgno = 0;  // 0: free
    uint32_t slot = 0;
  };
  size_t Home(Pgno pgno) const { return (pgno.raw() * 0x9e3779b97f4a7c15u >> 32) & mask_; }
  void Grow() {
    std::vector<Entry> old = std::move(entries_);
    std::vector<uint32_t> used = std::move(used_);
    entries_.assign(old.empty() ? 64 : old.size() * 2, Entry());
    mask_ = entries_.size() - 1;
    used_.clear();
    count_ = 0;
    for (uint32_t i : used) Put(Pgno(old[i].pgno), old[i].slot);
  }

  std::vector<Entry> entries_;
  std::vector<uint32_t> used_;  // places in entries_
  size_t mask_ = 0;
  size_t count_ = 0;
};

}  // namespace runnel::feed
