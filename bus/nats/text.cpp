#include "bus/nats/text.h"

#include <array>
#include <charconv>
#include <cstdint>

#include <fmt/format.h>

namespace runnel::bus::nats {
namespace {

// The whole text as a number without sign.
std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const std::from_chars_result result = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || result.ec != std::errc() || result.ptr != text.data() + text.size()) return std::nullopt;
  return value;
}

// The number in text[offset, offset + count), within [low, high].
std::optional<int> Field(std::string_view text, size_t offset, size_t count, int low, int high) {
  if (text.size() < offset + count) return std::nullopt;
  const std::optional<uint64_t> value = Number(text.substr(offset, count));
  if (!value.has_value()) return std::nullopt;
  const int number = static_cast<int>(*value);
  if (number < low || number > high) return std::nullopt;
  return number;
}

// "Z" or "+hh:mm" or "-hh:mm": minutes east of UTC.
std::optional<int> Offset(std::string_view text) {
  if (text == "Z") return 0;
  if (text.size() != 6 || (text[0] != '+' && text[0] != '-') || text[3] != ':') return std::nullopt;
  const std::optional<int> hours = Field(text, 1, 2, 0, 23);
  const std::optional<int> minutes = Field(text, 4, 2, 0, 59);
  if (!hours.has_value() || !minutes.has_value()) return std::nullopt;
  const int total = *hours * 60 + *minutes;
  return text[0] == '-' ? -total : total;
}

constexpr int8_t Sextet(char c) {
  if (c >= 'A' && c <= 'Z') return static_cast<int8_t>(c - 'A');
  if (c >= 'a' && c <= 'z') return static_cast<int8_t>(c - 'a' + 26);
  if (c >= '0' && c <= '9') return static_cast<int8_t>(c - '0' + 52);
  if (c == '+') return 62;
  if (c == '/') return 63;
  return -1;
}

}  // namespace

std::optional<Delivery> ParseDelivery(std::string_view reply) {
  constexpr size_t kTokensMax = 12;
  std::array<std::string_view, kTokensMax> tokens;
  size_t count = 0;
  size_t begin = 0;
  while (begin <= reply.size()) {
    if (count == kTokensMax) return std::nullopt;
    const size_t end = std::min(reply.find('.', begin), reply.size());
    tokens[count++] = reply.substr(begin, end - begin);
    begin = end + 1;
  }
  if (count < 9 || count == 10 || tokens[0] != "$JS" || tokens[1] != "ACK") return std::nullopt;
  const size_t base = count == 9 ? 5 : 7;
  const std::optional<uint64_t> seq = Number(tokens[base]);
  const std::optional<uint64_t> nanos = Number(tokens[base + 2]);
  if (!seq.has_value() || *seq == 0 || !nanos.has_value()) return std::nullopt;
  return Delivery{StreamSeq(*seq), WallTime(std::chrono::microseconds(*nanos / 1000))};
}

std::optional<WallTime> ParseTime(std::string_view text) {
  const std::optional<int> year = Field(text, 0, 4, 1970, 9999);
  const std::optional<int> month = Field(text, 5, 2, 1, 12);
  const std::optional<int> day = Field(text, 8, 2, 1, 31);
  const std::optional<int> hour = Field(text, 11, 2, 0, 23);
  const std::optional<int> minute = Field(text, 14, 2, 0, 59);
  const std::optional<int> second = Field(text, 17, 2, 0, 60);
  if (!year || !month || !day || !hour || !minute || !second) return std::nullopt;
  if (text[4] != '-' || text[7] != '-' || text[10] != 'T' || text[13] != ':' || text[16] != ':') return std::nullopt;
  size_t at = 19;
  int64_t micros = 0;
  if (at < text.size() && text[at] == '.') {
    const size_t first = ++at;
    int64_t unit = 100000;
    for (; at < text.size() && text[at] >= '0' && text[at] <= '9'; ++at, unit /= 10) micros += (text[at] - '0') * unit;
    if (at == first) return std::nullopt;
  }
  const std::optional<int> east = Offset(text.substr(at));
  const std::chrono::year_month_day date(std::chrono::year(*year), std::chrono::month(static_cast<unsigned>(*month)),
                                         std::chrono::day(static_cast<unsigned>(*day)));
  if (!east.has_value() || !date.ok()) return std::nullopt;
  return WallTime(std::chrono::sys_days(date)) + std::chrono::hours(*hour) + std::chrono::minutes(*minute - *east) +
         std::chrono::seconds(*second) + std::chrono::microseconds(micros);
}

std::string FormatTime(WallTime time) {
  const std::chrono::sys_days days = std::chrono::floor<std::chrono::days>(time);
  const std::chrono::year_month_day date(days);
  const std::chrono::hh_mm_ss<std::chrono::microseconds> clock(time - days);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}Z", static_cast<int>(date.year()),
                     static_cast<unsigned>(date.month()), static_cast<unsigned>(date.day()), clock.hours().count(),
                     clock.minutes().count(), clock.seconds().count(), clock.subseconds().count());
}

std::optional<std::string> DecodeBase64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  size_t padding = 0;
  while (padding < 2 && padding < text.size() && text[text.size() - 1 - padding] == '=') ++padding;
  std::string bytes;
  bytes.reserve(text.size() / 4 * 3);
  uint32_t buffer = 0;
  int bits = 0;
  for (const char c : text.substr(0, text.size() - padding)) {
    const int8_t value = Sextet(c);
    if (value < 0) return std::nullopt;
    buffer = (buffer << 6 | static_cast<uint32_t>(value)) & 0xffff;
    bits += 6;
    if (bits < 8) continue;
    bits -= 8;
    bytes.push_back(static_cast<char>(buffer >> bits & 0xff));
  }
  return bytes;
}

}  // namespace runnel::bus::nats
