// Time is passed in: wall time for people and for what is written down, steady time for waiting and measuring.
#pragma once

#include <chrono>
#include <cstdint>
#include <stop_token>
#include <string>
#include <string_view>

#include "ltx/base/result.h"

namespace runnel {

using WallTime = std::chrono::sys_time<std::chrono::microseconds>;
using SteadyTime = std::chrono::steady_clock::time_point;

// Where a component gets its time from. THREAD: any.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual WallTime Wall() const = 0;
  virtual SteadyTime Now() const = 0;
};

// The machine's clocks. LIFETIME: for ever.
const Clock& SystemClock();

// A deadline this far from now. Negative: already past.
inline SteadyTime DeadlineIn(std::chrono::steady_clock::duration from_now) {
  return std::chrono::steady_clock::now() + from_now;
}

// For waits that end by a stop only. A year ahead instead of time_point::max(), which overflows where it is converted.
inline SteadyTime NoDeadline() { return DeadlineIn(std::chrono::hours(24 * 365)); }

// Time until the deadline, never negative.
inline std::chrono::milliseconds TimeLeft(SteadyTime deadline) {
  SteadyTime now = std::chrono::steady_clock::now();
  if (deadline <= now) return std::chrono::milliseconds(0);
  return std::chrono::ceil<std::chrono::milliseconds>(deadline - now);
}

// A short rest between two attempts. Whatever somebody may want to stop sleeps with SleepUntil.
void Pause(std::chrono::nanoseconds time);

// Sleeps until the deadline. Errors: kCancelled as soon as a stop is asked for.
Status SleepUntil(SteadyTime deadline, std::stop_token stop);

// Waits between attempts: doubles from `first` to `longest`, each shortened by up to a quarter at random, so that many
// nodes that lost the same server do not return in step. One thread.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds first, std::chrono::milliseconds longest, uint64_t seed = 1);

  // How long to wait before the next attempt.
  std::chrono::milliseconds Next();
  // After a success.
  void Reset() { next_ = first_; }

 private:
  std::chrono::milliseconds first_;
  std::chrono::milliseconds longest_;
  std::chrono::milliseconds next_;
  uint64_t random_;
};

// "2024-05-01T12:00:00.123456Z", always UTC with six decimals, so that texts sort as the moments do.
std::string FormatRfc3339(WallTime time);

// Reads "2024-05-01T12:00:00[.fraction](Z|+hh:mm|-hh:mm)", 'T' or a space between; fractions finer than a microsecond
// are cut. Errors: kInvalid.
Result<WallTime> ParseRfc3339(std::string_view text);

// For people: "250us", "1.5ms", "12s", "3m20s", "2h05m", "3d04h".
std::string FormatDuration(std::chrono::microseconds duration);

}  // namespace runnel
