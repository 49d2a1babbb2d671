#include "subscriber/archive/store/retry.h"

#include <algorithm>
#include <random>

namespace runnel::store {
namespace {

// Different in every process and thread: the jitter is there to keep them apart.
uint64_t RandomSeed() {
  std::random_device device;
  return uint64_t{device()} << 32 | device();
}

}  // namespace

Retry::Retry(const RetryOptions& options, uint32_t attempts_max)
    : options_(options),
      attempts_max_(std::max<uint32_t>(1, attempts_max)),
      backoff_(options.first, options.longest, RandomSeed()),
      left_(attempts_max_) {}

Status Retry::Wait(const Error& error) {
  if (left_ <= 1) return error;
  --left_;
  repeated_ = true;
  return SleepUntil(DeadlineIn(backoff_.Next()), options_.stop);
}

void Retry::Reset() {
  backoff_.Reset();
  left_ = attempts_max_;
}

}  // namespace runnel::store
