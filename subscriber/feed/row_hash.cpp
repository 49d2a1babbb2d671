#include "subscriber/feed/row_hash.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace runnel::feed {
namespace {

// Folded multiplication, the step of wyhash and its kin.
uint64_t Mix(uint64_t x, uint64_t y) {
  unsigned __int128 product = static_cast<unsigned __int128>(x) * y;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

class State {
 public:
  explicit State(uint64_t seed) : hash_{seed ^ 0x9e3779b97f4a7c15u, std::rotl(seed, 32) ^ 0xd1b54a32d192ed03u} {}

  void Add(uint64_t word) {
    hash_.a = Mix(hash_.a ^ word, 0xa0761d6478bd642fu) + hash_.b;
    hash_.b = Mix(hash_.b + word, 0xe7037ed1a0b428dbu) ^ std::rotl(hash_.a, 23);
  }
  void Add(Bytes bytes) {
    Add(bytes.size());
    for (; !bytes.empty(); bytes = bytes.subspan(std::min<size_t>(8, bytes.size()))) {
      uint64_t word = 0;
      std::memcpy(&word, bytes.data(), std::min<size_t>(8, bytes.size()));
      Add(word);
    }
  }
  RowHash Finish() {
    Add(0x8ebc6af09c88c6e3u);
    return hash_;
  }

 private:
  RowHash hash_;
};

}  // namespace

RowHash RowHasher::operator()(const std::vector<sqlite::Value>& values) const {
  State state(seed_);
  for (const sqlite::Value& value : values) {
    state.Add(static_cast<uint64_t>(value.type));
    switch (value.type) {
      case sqlite::ValueType::kNull: break;
      case sqlite::ValueType::kInteger: state.Add(static_cast<uint64_t>(value.integer)); break;
      case sqlite::ValueType::kReal: state.Add(std::bit_cast<uint64_t>(value.real)); break;
      case sqlite::ValueType::kText:
      case sqlite::ValueType::kBlob: state.Add(value.bytes); break;
    }
  }
  return state.Finish();
}

}  // namespace runnel::feed
