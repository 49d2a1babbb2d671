#include "ltx/base/time.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <thread>

#include <fmt/format.h>

#include "ltx/base/sync.h"

namespace runnel {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;

class MachineClock : public Clock {
 public:
  WallTime Wall() const override {
    return std::chrono::time_point_cast<microseconds>(std::chrono::system_clock::now());
  }
  SteadyTime Now() const override { return std::chrono::steady_clock::now(); }
};

// Takes exactly `digits` decimal digits from the front.
std::optional<int> TakeNumber(std::string_view& text, size_t digits) {
  if (text.size() < digits) return std::nullopt;
  int value = 0;
  for (char c : text.substr(0, digits)) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + (c - '0');
  }
  text.remove_prefix(digits);
  return value;
}

bool TakeChar(std::string_view& text, std::string_view any_of) {
  if (text.empty() || any_of.find(text.front()) == std::string_view::npos) return false;
  text.remove_prefix(1);
  return true;
}

// ".123456789" -> 123456 us; nothing -> 0.
std::optional<microseconds> TakeFraction(std::string_view& text) {
  if (!TakeChar(text, ".")) return microseconds(0);
  int64_t value = 0;
  size_t digits = 0;
  for (; !text.empty() && text.front() >= '0' && text.front() <= '9'; text.remove_prefix(1), ++digits) {
    if (digits < 6) value = value * 10 + (text.front() - '0');
  }
  if (digits == 0) return std::nullopt;
  for (; digits < 6; ++digits) value *= 10;
  return microseconds(value);
}

// "Z", "+02:00"
std::optional<std::chrono::minutes> TakeZone(std::string_view& text) {
  if (TakeChar(text, "Zz")) return std::chrono::minutes(0);
  bool west = !text.empty() && text.front() == '-';
  if (!TakeChar(text, "+-")) return std::nullopt;
  std::optional<int> hours = TakeNumber(text, 2);
  if (!hours || !TakeChar(text, ":")) return std::nullopt;
  std::optional<int> minutes = TakeNumber(text, 2);
  if (!minutes || *hours > 23 || *minutes > 59) return std::nullopt;
  std::chrono::minutes offset(*hours * 60 + *minutes);
  return west ? -offset : offset;
}

std::optional<std::chrono::sys_days> TakeDate(std::string_view& text) {
  std::optional<int> year = TakeNumber(text, 4);
  if (!year || !TakeChar(text, "-")) return std::nullopt;
  std::optional<int> month = TakeNumber(text, 2);
  if (!month || !TakeChar(text, "-")) return std::nullopt;
  std::optional<int> day = TakeNumber(text, 2);
  if (!day) return std::nullopt;
  std::chrono::year_month_day date(std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                   std::chrono::day(static_cast<unsigned>(*day)));
  if (!date.ok()) return std::nullopt;
  return std::chrono::sys_days(date);
}

std::optional<std::chrono::seconds> TakeTimeOfDay(std::string_view& text) {
  std::optional<int> hours = TakeNumber(text, 2);
  if (!hours || !TakeChar(text, ":")) return std::nullopt;
  std::optional<int> minutes = TakeNumber(text, 2);
  if (!minutes || !TakeChar(text, ":")) return std::nullopt;
  std::optional<int> seconds = TakeNumber(text, 2);
  if (!seconds || *hours > 23 || *minutes > 59 || *seconds > 59) return std::nullopt;
  return std::chrono::seconds(*hours * 3600 + *minutes * 60 + *seconds);
}

std::optional<WallTime> ParseMoment(std::string_view text) {
  std::optional<std::chrono::sys_days> date = TakeDate(text);
  if (!date || !TakeChar(text, "Tt ")) return std::nullopt;
  std::optional<std::chrono::seconds> time_of_day = TakeTimeOfDay(text);
  if (!time_of_day) return std::nullopt;
  std::optional<microseconds> fraction = TakeFraction(text);
  if (!fraction) return std::nullopt;
  std::optional<std::chrono::minutes> zone = TakeZone(text);
  if (!zone || !text.empty()) return std::nullopt;
  return WallTime(*date) + *time_of_day + *fraction - *zone;
}

}  // namespace

const Clock& SystemClock() {
  static const MachineClock clock;
  return clock;
}

void Pause(std::chrono::nanoseconds time) { std::this_thread::sleep_for(time); }

Status SleepUntil(SteadyTime deadline, std::stop_token stop) {
  Mutex mutex;
  CondVar never;
  MutexLock lock(mutex);
  while (never.WaitUntil(mutex, stop, deadline)) {
  }
  if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped while waiting");
  return Ok();
}

Backoff::Backoff(milliseconds first, milliseconds longest, uint64_t seed)
    : first_(first), longest_(longest), next_(first), random_(seed | 1) {}

milliseconds Backoff::Next() {
  milliseconds wait = next_;
  next_ = std::min(longest_, next_ * 2);
  random_ ^= random_ << 13;  // xorshift: the quality of the jitter does not matter
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return wait - milliseconds(static_cast<int64_t>(random_ % (static_cast<uint64_t>(wait.count()) / 4 + 1)));
}

std::string FormatRfc3339(WallTime time) {
  std::chrono::sys_days day = std::chrono::floor<std::chrono::days>(time);
  std::chrono::year_month_day date(day);
  int64_t us = (time - WallTime(day)).count();
  int64_t seconds = us / 1000000;
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), seconds / 3600,
                     seconds / 60 % 60, seconds % 60, us % 1000000);
}

Result<WallTime> ParseRfc3339(std::string_view text) {
  std::optional<WallTime> time = ParseMoment(text);
  if (!time) {
    return Error(Errc::kInvalid,
                 fmt::format("\"{}\" is not a time like 2024-05-01T12:00:00Z or 2024-05-01T14:00:00.5+02:00", text));
  }
  return *time;
}

std::string FormatDuration(microseconds duration) {
  int64_t us = duration.count();
  if (us < 0) return "-" + FormatDuration(-duration);
  if (us < 1000) return fmt::format("{}us", us);
  if (us < 1000000) return fmt::format("{:.3g}ms", static_cast<double>(us) / 1e3);
  int64_t seconds = us / 1000000;
  if (seconds < 10) return fmt::format("{:.2g}s", static_cast<double>(us) / 1e6);
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m{:02}s", seconds / 60, seconds % 60);
  if (seconds < 86400) return fmt::format("{}h{:02}m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{}d{:02}h", seconds / 86400, seconds / 3600 % 24);
}

}  // namespace runnel
