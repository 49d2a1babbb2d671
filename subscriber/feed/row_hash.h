// A 128-bit hash of the values of a row, seeded: whoever can write rows must not be able to make two of them look
// alike.
#pragma once

#include <cstdint>
#include <vector>

#include "ltx/sqlite/record.h"

namespace runnel::feed {

struct RowHash {
  uint64_t a = 0;
  uint64_t b = 0;
  bool operator==(const RowHash&) const = default;
};

struct RowHashOfHash {
  size_t operator()(const RowHash& hash) const { return hash.a; }
};

class RowHasher {
 public:
  explicit RowHasher(uint64_t seed) : seed_(seed) {}
  RowHash operator()(const std::vector<sqlite::Value>& values) const;

 private:
  uint64_t seed_;
};

}  // namespace runnel::feed
