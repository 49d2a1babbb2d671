// Which bytes of two versions of a page differ.
#pragma once

#include <cstddef>

#include "ltx/base/bytes.h"

namespace runnel::feed {

// From the first byte that differs to behind the last one; begin == end: none does.
struct Difference {
  size_t begin = 0;
  size_t end = 0;

  bool Touches(size_t from, size_t to) const { return from < end && to > begin; }
  // REQUIRES: sizes are equal.
  static Difference Of(Bytes a, Bytes b);
};

}  // namespace runnel::feed
