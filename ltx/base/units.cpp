#include "ltx/base/units.h"

#include <array>
#include <cmath>
#include <optional>

#include <fmt/format.h>

namespace runnel {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

// Longest names first where one is the beginning of another.
constexpr std::array kDurationUnits{Unit{"ms", 1}, Unit{"s", 1000}, Unit{"m", 60e3}, Unit{"h", 3600e3},
                                    Unit{"d", 86400e3}};
constexpr std::array kSizeUnits{
    Unit{"KiB", 1024}, Unit{"MiB", 1048576}, Unit{"GiB", 1073741824}, Unit{"TiB", 1099511627776}, Unit{"kB", 1e3},
    Unit{"KB", 1e3},   Unit{"MB", 1e6},      Unit{"GB", 1e9},         Unit{"TB", 1e12},           Unit{"B", 1}};

// A century of milliseconds, and what a double holds exactly: beyond is a mistake, not a setting.
constexpr double kDurationMax = 100.0 * 365 * 86400e3;
constexpr double kSizeMax = 9007199254740992.0;

// Takes "12" or "1.5" from the front.
std::optional<double> TakeNumber(std::string_view& text) {
  double value = 0;
  double place = 0;  // of the next digit behind the point; 0: before the point
  bool any = false;
  size_t used = 0;
  for (; used < text.size(); ++used) {
    char c = text[used];
    if (c == '.' && place == 0 && any) {
      place = 0.1;
      any = false;
    } else if (c >= '0' && c <= '9' && place == 0) {
      value = value * 10 + (c - '0');
      any = true;
    } else if (c >= '0' && c <= '9') {
      value += place * (c - '0');
      place /= 10;
      any = true;
    } else {
      break;
    }
  }
  if (!any) return std::nullopt;
  text.remove_prefix(used);
  return value;
}

template <size_t N>
std::optional<double> TakeUnit(std::string_view& text, const std::array<Unit, N>& units) {
  for (const Unit& unit : units) {
    if (!text.starts_with(unit.name)) continue;
    text.remove_prefix(unit.name.size());
    return unit.factor;
  }
  return std::nullopt;
}

void SkipSpaces(std::string_view& text) {
  while (text.starts_with(' ')) text.remove_prefix(1);
}

std::optional<double> ParseDurationMs(std::string_view text) {
  if (text == "0") return 0;
  double total = 0;
  do {
    std::optional<double> number = TakeNumber(text);
    std::optional<double> factor = number ? TakeUnit(text, kDurationUnits) : std::nullopt;
    if (!factor) return std::nullopt;
    total += *number * *factor;
  } while (!text.empty());
  return total <= kDurationMax ? std::optional(total) : std::nullopt;
}

std::optional<double> ParseSizeBytes(std::string_view text) {
  std::optional<double> number = TakeNumber(text);
  SkipSpaces(text);
  if (!number) return std::nullopt;
  std::optional<double> factor = text.empty() ? std::optional(1.0) : TakeUnit(text, kSizeUnits);
  if (!factor || !text.empty()) return std::nullopt;
  double bytes = *number * *factor;
  return bytes <= kSizeMax ? std::optional(bytes) : std::nullopt;
}

}  // namespace

Result<std::chrono::milliseconds> ParseDuration(std::string_view text) {
  std::optional<double> ms = ParseDurationMs(text);
  if (!ms) return Error(Errc::kInvalid, fmt::format("\"{}\" is not a duration like 500ms, 10s, 5m, 1h or 7d", text));
  return std::chrono::milliseconds(std::llround(*ms));
}

Result<uint64_t> ParseSize(std::string_view text) {
  std::optional<double> bytes = ParseSizeBytes(text);
  if (!bytes) return Error(Errc::kInvalid, fmt::format("\"{}\" is not a size like 4096, 512KiB, 64MiB or 10GiB", text));
  return static_cast<uint64_t>(std::llround(*bytes));
}

std::string FormatBytes(uint64_t bytes) {
  if (bytes < 1024) return fmt::format("{} B", bytes);
  constexpr std::array<std::string_view, 5> kNames{"KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes) / 1024;
  size_t unit = 0;
  for (; value >= 1023.5 && unit + 1 < kNames.size(); ++unit) value /= 1024;
  return fmt::format("{:.{}f} {}", value, value < 99.95 ? 1 : 0, kNames[unit]);
}

std::string FormatCount(double count) {
  constexpr std::array<std::string_view, 4> kNames{"", "k", "M", "G"};
  size_t unit = 0;
  for (; count >= 999.5 && unit + 1 < kNames.size(); ++unit) count /= 1000;
  return unit == 0 ? fmt::format("{:.0f}", count) : fmt::format("{:.3g}{}", count, kNames[unit]);
}

}  // namespace runnel
