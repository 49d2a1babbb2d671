// A set of page numbers: one bit a page, and the members, so that emptying it costs its members and not the database.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/format/types.h"

namespace runnel::feed {

// THREAD: one.
class PageSet {
 public:
  // Makes room for pages up to `page_count`; REQUIRES for Add.
  void Reserve(uint32_t page_count) {
    if (words_.size() * 64 <= page_count) words_.resize(page_count / 64 + 1);
  }
  // Asks for the memory that a question about this page needs.
  void Fetch(Pgno pgno) const {
    if (pgno.raw() / 64 < words_.size()) __builtin_prefetch(&words_[pgno.raw() / 64]);
  }
  // Any page number may be asked for.
  bool Contains(Pgno pgno) const {
    size_t word = pgno.raw() / 64;
    return word < words_.size() && (words_[word] >> (pgno.raw() % 64) & 1) != 0;
  }
  // False: it was in already.
  bool Add(Pgno pgno) {
    if (Contains(pgno)) return false;
    words_[pgno.raw() / 64] |= uint64_t{1} << (pgno.raw() % 64);
    members_.push_back(pgno);
    return true;
  }
  // Takes out what was added last until `size` members are left.
  void ShrinkTo(size_t size) {
    for (; members_.size() > size; members_.pop_back()) {
      words_[members_.back().raw() / 64] &= ~(uint64_t{1} << (members_.back().raw() % 64));
    }
  }
  void Clear() { ShrinkTo(0); }

  size_t size() const { return members_.size(); }
  const std::vector<Pgno>& members() const { return members_; }

 private:
  std::vector<uint64_t> words_;
  std::vector<Pgno> members_;
};

}  // namespace runnel::feed
