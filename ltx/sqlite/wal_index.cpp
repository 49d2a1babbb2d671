#include "ltx/sqlite/wal_index.h"

#include <bit>
#include <cstring>

namespace runnel::sqlite {

namespace {

struct WalSum {
  uint32_t first;
  uint32_t second;
};

template <bool kBigEndian>
void AddPair(WalSum& sum, const std::byte* pair) {
  uint32_t word[2];
  std::memcpy(word, pair, sizeof word);
  sum.first += (kBigEndian ? __builtin_bswap32(word[0]) : word[0]) + sum.second;
  sum.second += (kBigEndian ? __builtin_bswap32(word[1]) : word[1]) + sum.first;
}

// Two neighbouring Fibonacci numbers, modulo 2^32: F(n) and F(n + 1).
struct Fibonacci {
  explicit Fibonacci(uint64_t n) {
    for (int bit = static_cast<int>(std::bit_width(n)) - 1; bit >= 0; --bit) {
      const uint32_t doubled = at * (2 * behind - at);
      const uint32_t behind_doubled = at * at + behind * behind;
      const bool odd = ((n >> bit) & 1) != 0;
      at = odd ? behind_doubled : doubled;
      behind = odd ? doubled + behind_doubled : behind_doubled;
    }
  }
  uint32_t at = 0;
  uint32_t behind = 1;
};

// Each word's sum waits for the one before. But adding a pair to a sum (a, b) is, words aside, a step of two Fibonacci
// numbers: (a + b, a + 2b). So parts of equal length are summed up side by side from 0, and joined: a sum moved behind
// n further words is (F(n-1) a + F(n) b, F(n) a + F(n+1) b).
template <bool kBigEndian>
WalSum AddPairs(WalSum sum, Bytes bytes) {
  constexpr size_t kParts = 4;
  constexpr size_t kPairBytes = 8;
  constexpr size_t kWorthIt = 256;  // bytes: below that joining costs more than it saves
  const std::byte* p = bytes.data();
  const std::byte* const end = p + bytes.size() / kPairBytes * kPairBytes;
  if (bytes.size() >= kWorthIt) {
    const size_t part_bytes = bytes.size() / kPairBytes / kParts * kPairBytes;
    WalSum parts[kParts] = {sum, {0, 0}, {0, 0}, {0, 0}};
    for (size_t at = 0; at < part_bytes; at += kPairBytes) {
      // Without a loop: its sums would stay in memory, and each wait for its own store.
      AddPair<kBigEndian>(parts[0], p + at);
      AddPair<kBigEndian>(parts[1], p + part_bytes + at);
      AddPair<kBigEndian>(parts[2], p + 2 * part_bytes + at);
      AddPair<kBigEndian>(parts[3], p + 3 * part_bytes + at);
    }
    const Fibonacci moved(part_bytes / sizeof(uint32_t));
    sum = parts[0];
    for (size_t part = 1; part < kParts; ++part) {
      sum = {(moved.behind - moved.at) * sum.first + moved.at * sum.second + parts[part].first,
             moved.at * sum.first + moved.behind * sum.second + parts[part].second};
    }
    p += kParts * part_bytes;
  }
  for (; p < end; p += kPairBytes) AddPair<kBigEndian>(sum, p);
  return sum;
}

}  // namespace

void WalChecksum(bool big_endian, Bytes bytes, uint32_t checksum[2]) {
  const WalSum before{checksum[0], checksum[1]};
  const WalSum sum = big_endian ? AddPairs<true>(before, bytes) : AddPairs<false>(before, bytes);
  checksum[0] = sum.first;
  checksum[1] = sum.second;
}

void ComputeHeaderChecksum(const WalIndexHeader& header, uint32_t out[2]) {
  out[0] = 0;
  out[1] = 0;
  Bytes bytes(reinterpret_cast<const std::byte*>(&header), offsetof(WalIndexHeader, header_checksum));
  WalChecksum(false, bytes, out);
}

bool IsValid(const WalIndexHeader& header) {
  uint32_t sum[2];
  ComputeHeaderChecksum(header, sum);
  return header.is_init != 0 && sum[0] == header.header_checksum[0] && sum[1] == header.header_checksum[1];
}

}  // namespace runnel::sqlite
