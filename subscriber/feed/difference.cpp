#include "subscriber/feed/difference.h"

#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

namespace runnel::feed {
namespace {

// Whole blocks are compared by the C library at the speed of memory, words find the place.
constexpr size_t kBlockBytes = 512;
constexpr size_t kWordBytes = sizeof(uint64_t);

static_assert(std::endian::native == std::endian::little, "the first byte of a word is its lowest");

uint64_t DifferingBits(const std::byte* a, const std::byte* b) {
  uint64_t x;
  uint64_t y;
  std::memcpy(&x, a, kWordBytes);
  std::memcpy(&y, b, kWordBytes);
  return x ^ y;
}

size_t FirstDifference(const std::byte* a, const std::byte* b, size_t size) {
  size_t i = 0;
  while (i + kBlockBytes <= size && std::memcmp(a + i, b + i, kBlockBytes) == 0) i += kBlockBytes;
  for (; i + kWordBytes <= size; i += kWordBytes) {
    uint64_t bits = DifferingBits(a + i, b + i);
    if (bits != 0) return i + static_cast<size_t>(std::countr_zero(bits)) / 8;
  }
  while (i < size && a[i] == b[i]) ++i;
  return i;
}

// REQUIRES: they differ.
size_t BehindLastDifference(const std::byte* a, const std::byte* b, size_t size) {
  size_t i = size;
  while (i >= kBlockBytes && std::memcmp(a + i - kBlockBytes, b + i - kBlockBytes, kBlockBytes) == 0) i -= kBlockBytes;
  for (; i >= kWordBytes; i -= kWordBytes) {
    uint64_t bits = DifferingBits(a + i - kWordBytes, b + i - kWordBytes);
    if (bits != 0) return i - static_cast<size_t>(std::countl_zero(bits)) / 8;
  }
  while (a[i - 1] == b[i - 1]) --i;
  return i;
}

}  // namespace

Difference Difference::Of(Bytes a, Bytes b) {
  const size_t begin = FirstDifference(a.data(), b.data(), a.size());
  if (begin == a.size()) return {a.size(), a.size()};
  return {begin, BehindLastDifference(a.data(), b.data(), a.size())};
}

std::optional<Difference> KnownDifferences::Of(Pgno pgno) const {
  const auto at = std::lower_bound(pages.begin(), pages.end(), pgno);
  if (at == pages.end() || *at != pgno) return std::nullopt;
  return differences[static_cast<size_t>(at - pages.begin())];
}

}  // namespace runnel::feed
