// Which bytes of two versions of a page differ.
#pragma once

#include <algorithm>
#include <cstddef>

#include "ltx/base/bytes.h"

namespace runnel::feed {

// From the first byte that differs to behind the last one; begin == end: none does.
struct Difference {
  size_t begin = 0;
  size_t end = 0;

  bool Touches(size_t from, size_t to) const { return from < end && to > begin; }
  // Now from the first byte of either to behind the last one of either.
  void Add(const Difference& other) {
    if (other.begin == other.end) return;
    if (begin == end) {
      *this = other;
      return;
    }
    begin = std::min(begin, other.begin);
    end = std::max(end, other.end);
  }
  // REQUIRES: sizes are equal.
  static Difference Of(Bytes a, Bytes b);
};

}  // namespace runnel::feed
