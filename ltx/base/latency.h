// Counts durations in logarithmic buckets (eight a power of two, so a quantile is off by at most 6 %): constant size,
// mergeable, cheap enough for every commit.
#pragma once

#include <array>
#include <bit>
#include <chrono>
#include <cstddef>
#include <cstdint>

namespace runnel {

class LatencyHistogram {
 public:
  void Add(std::chrono::microseconds value) {
    uint64_t us = value.count() < 0 ? 0 : static_cast<uint64_t>(value.count());
    ++buckets_[Index(us)];
    ++count_;
    if (us > max_us_) max_us_ = us;
  }

  // The duration below which `quantile` (0 to 1) of all lie; 0 when empty.
  std::chrono::microseconds Quantile(double quantile) const {
    uint64_t rank = static_cast<uint64_t>(quantile * static_cast<double>(count_));
    uint64_t seen = 0;
    for (size_t i = 0; i < buckets_.size(); ++i) {
      seen += buckets_[i];
      if (buckets_[i] != 0 && seen > rank) return std::chrono::microseconds(Middle(i));
    }
    return std::chrono::microseconds(max_us_);
  }

  uint64_t count() const { return count_; }
  std::chrono::microseconds max() const { return std::chrono::microseconds(max_us_); }

 private:
  static constexpr unsigned kSubBits = 3;
  static constexpr size_t kBuckets = 40 << kSubBits;

  static size_t Index(uint64_t us) {
    if (us < (1u << kSubBits)) return us;
    unsigned exponent = static_cast<unsigned>(std::bit_width(us)) - 1 - kSubBits;
    size_t index = (size_t{exponent} + 1) << kSubBits | ((us >> exponent) & ((1u << kSubBits) - 1));
    return index < kBuckets ? index : kBuckets - 1;
  }
  static int64_t Middle(size_t index) {
    if (index < (1u << kSubBits)) return static_cast<int64_t>(index);
    unsigned exponent = static_cast<unsigned>(index >> kSubBits) - 1;
    uint64_t low = ((uint64_t{1} << kSubBits) + (index & ((1u << kSubBits) - 1))) << exponent;
    return static_cast<int64_t>(low + ((uint64_t{1} << exponent) >> 1));
  }

  std::array<uint32_t, kBuckets> buckets_{};
  uint64_t count_ = 0;
  uint64_t max_us_ = 0;
};

}  // namespace runnel
