// A bit a page, without a list of those that are set.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/format/types.h"

namespace runnel::feed {

// THREAD: one.
class PageBits {
 public:
  // For pages up to `page_count`; bits of pages that are no longer there are gone.
  void Resize(uint32_t page_count) {
    words_.resize(page_count / 64 + 1);
    const uint32_t kept = page_count % 64 + 1;
    if (kept < 64) words_.back() &= (uint64_t{1} << kept) - 1;
  }
  void ClearAll() { words_.assign(words_.size(), 0); }
  // Asks for the memory that a question about this page needs.
  void Fetch(Pgno pgno) const {
    if (pgno.raw() / 64 < words_.size()) __builtin_prefetch(&words_[pgno.raw() / 64]);
  }
  // Any page number may be asked for.
  bool Contains(Pgno pgno) const {
    const size_t word = pgno.raw() / 64;
    return word < words_.size() && (words_[word] >> (pgno.raw() % 64) & 1) != 0;
  }
  // REQUIRES for both: there is room.
  void Set(Pgno pgno) { words_[pgno.raw() / 64] |= uint64_t{1} << (pgno.raw() % 64); }
  void Reset(Pgno pgno) { words_[pgno.raw() / 64] &= ~(uint64_t{1} << (pgno.raw() % 64)); }

 private:
  std::vector<uint64_t> words_;
};

}  // namespace runnel::feed
