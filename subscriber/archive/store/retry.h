// How often and how patiently a store repeats a request by itself before its caller hears of it.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>

#include "ltx/base/result.h"
#include "ltx/base/time.h"

namespace runnel::store {

struct RetryOptions {
  uint32_t attempts_max = 8;  // about 20 s with the waits between
  std::chrono::milliseconds first{100};
  std::chrono::milliseconds longest{5000};
  std::stop_token stop = {};
};

// Counts the attempts of one request and waits between them. One thread. LIFETIME: the options outlive it.
class Retry {
 public:
  explicit Retry(const RetryOptions& options) : Retry(options, options.attempts_max) {}
  Retry(const RetryOptions& options, uint32_t attempts_max);

  // Waits before the next attempt. Returns `error` when there is none left, kCancelled on a stop.
  Status Wait(const Error& error);
  // Progress was made: all attempts again.
  void Reset();
  // Whether an earlier attempt may have had an effect.
  bool repeated() const { return repeated_; }

 private:
  const RetryOptions& options_;
  const uint32_t attempts_max_;
  Backoff backoff_;
  uint32_t left_;
  bool repeated_ = false;
};

}  // namespace runnel::store
