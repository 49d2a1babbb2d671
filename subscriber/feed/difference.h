// Which bytes of two versions of a page differ.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "ltx/base/bytes.h"
#include "ltx/format/types.h"

namespace runnel::feed {

// From the first byte that differs to behind the last one; begin == end: none does.
struct Difference {
  size_t begin = 0;
  size_t end = 0;

  bool Touches(size_t from, size_t to) const { return from < end && to > begin; }
  // REQUIRES: sizes are equal.
  static Difference Of(Bytes a, Bytes b);
};

// Those of a commit's pages, where somebody has found them already. LIFETIME: both lists.
struct KnownDifferences {
  std::span<const Pgno> pages;  // ascending
  std::span<const Difference> differences;

  std::optional<Difference> Of(Pgno pgno) const;
};

}  // namespace runnel::feed
