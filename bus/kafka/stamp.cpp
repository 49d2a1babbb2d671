#include "bus/kafka/stamp.h"

#include <fmt/format.h>

#include <array>
#include <charconv>

namespace runnel::bus::kafka {
namespace {

constexpr size_t kWords = 6;
constexpr int kHex = 16;

template <typename T>
bool ParseAll(std::string_view text, T& number, int base) {
  const char* const end = text.data() + text.size();
  const auto [stop, err] = std::from_chars(text.data(), end, number, base);
  return err == std::errc() && stop == end;
}

}  // namespace

std::string EncodeStamp(const Stamp& stamp) {
  std::string text = fmt::format("1 {} {} {:016x} ", stamp.is_marker ? 'm' : 'd', stamp.offset, stamp.leadership);
  if (stamp.previous.seq == 0) return text + "- -";
  return text + fmt::format("{} {:016x}", stamp.previous.seq - 1, stamp.previous.leadership);
}

std::optional<Stamp> DecodeStamp(std::string_view text) {
  if (text.size() > kStampBytesMax) return std::nullopt;
  std::array<std::string_view, kWords> words;
  std::string_view rest = text;
  for (std::string_view& word : words) {
    const size_t blank = rest.find(' ');
    word = rest.substr(0, blank);
    rest = blank == std::string_view::npos ? std::string_view() : rest.substr(blank + 1);
  }
  Stamp stamp;
  stamp.is_marker = words[1] == "m";
  if (!ParseAll(words[2], stamp.offset, 10) || !ParseAll(words[3], stamp.leadership, kHex)) return std::nullopt;
  if (words[4] != "-") {
    Offset previous = 0;
    if (!ParseAll(words[4], previous, 10) || !ParseAll(words[5], stamp.previous.leadership, kHex)) return std::nullopt;
    // The record before lies in front of this one, and is named in full or not at all.
    if (previous < 0 || previous >= stamp.offset || stamp.previous.leadership == 0) return std::nullopt;
    stamp.previous.seq = static_cast<uint64_t>(previous) + 1;
  }
  if (stamp.offset < 0 || stamp.leadership == 0) return std::nullopt;
  // One form only: what is not exactly what we would write is not ours.
  if (EncodeStamp(stamp) != text) return std::nullopt;
  return stamp;
}

}  // namespace runnel::bus::kafka
