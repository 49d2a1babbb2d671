#include "subscriber/feed/json_text.h"

#include <algorithm>
#include <array>
#include <charconv>

namespace runnel::feed {
namespace {

constexpr size_t kCapacityMin = 4096;
// Bytes that any number needs at most, with what Real adds.
constexpr size_t kNumberBytesMax = 40;

// Whether any of these eight bytes needs an escape, or is not ASCII: below 0x20, '"', '\\' or the high bit.
constexpr uint64_t kOnes = 0x0101010101010101;
constexpr uint64_t kHighs = 0x8080808080808080;

uint64_t ZeroBytes(uint64_t word) { return (word - kOnes) & ~word & kHighs; }
bool NeedsEscape(uint64_t word) {
  uint64_t control = (word - kOnes * 0x20) & ~word & kHighs;
  return (control | ZeroBytes(word ^ kOnes * '"') | ZeroBytes(word ^ kOnes * '\\')) != 0;
}

constexpr std::array<bool, 256> MakeEscaped() {
  std::array<bool, 256> escaped{};
  for (size_t i = 0; i < 0x20; ++i) escaped[i] = true;
  escaped['"'] = escaped['\\'] = true;
  return escaped;
}
constexpr std::array<bool, 256> kEscaped = MakeEscaped();

char* Escape(char* out, char c) {
  constexpr char kDigits[] = "0123456789abcdef";
  *out++ = '\\';
  switch (c) {
    case '"': *out++ = '"'; return out;
    case '\\': *out++ = '\\'; return out;
    case '\n': *out++ = 'n'; return out;
    case '\r': *out++ = 'r'; return out;
    case '\t': *out++ = 't'; return out;
    default: break;
  }
  unsigned char byte = static_cast<unsigned char>(c);
  for (char part : {'u', '0', '0', kDigits[byte >> 4], kDigits[byte & 15]}) *out++ = part;
  return out;
}

}  // namespace

void JsonText::Grow(size_t bytes) {
  size_t capacity = std::max({kCapacityMin, capacity_ * 2, size_ + bytes});
  auto data = std::make_unique_for_overwrite<char[]>(capacity);
  if (size_ != 0) std::memcpy(data.get(), data_.get(), size_);
  data_ = std::move(data);
  capacity_ = capacity;
}

void JsonText::Number(int64_t value) {
  char* start = Room(kNumberBytesMax);
  size_ += static_cast<size_t>(std::to_chars(start, start + kNumberBytesMax, value).ptr - start);
}

void JsonText::Number(uint64_t value) {
  char* start = Room(kNumberBytesMax);
  size_ += static_cast<size_t>(std::to_chars(start, start + kNumberBytesMax, value).ptr - start);
}

void JsonText::Real(double value) {
  char* start = Room(kNumberBytesMax);
  char* end = std::to_chars(start, start + kNumberBytesMax, value).ptr;
  if (std::find_if(start, end, [](char c) { return c == '.' || c == 'e'; }) == end) {
    *end++ = '.';
    *end++ = '0';
  }
  size_ += static_cast<size_t>(end - start);
}

void JsonText::String(std::string_view text) {
  char* out = Room(text.size() * 6 + 2);  // each byte becomes six at most
  *out++ = '"';
  const char* in = text.data();
  const char* end = in + text.size();
  while (in != end) {
    while (end - in >= 8) {
      uint64_t word;
      std::memcpy(&word, in, 8);
      if (NeedsEscape(word)) break;
      std::memcpy(out, in, 8);
      in += 8;
      out += 8;
    }
    // Up to the byte that stopped us, and past it.
    const char* stop = end - in > 8 ? in + 8 : end;
    for (; in != stop; ++in) {
      if (kEscaped[static_cast<unsigned char>(*in)]) {
        out = Escape(out, *in);
      } else {
        *out++ = *in;
      }
    }
  }
  *out++ = '"';
  size_ = static_cast<size_t>(out - data_.get());
}

void JsonText::Base64(Bytes bytes) {
  constexpr char kDigits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  char* out = Room((bytes.size() + 2) / 3 * 4 + 2);
  *out++ = '"';
  size_t i = 0;
  auto at = [&bytes](size_t n) { return std::to_integer<uint32_t>(bytes[n]); };
  for (; i + 3 <= bytes.size(); i += 3) {
    uint32_t word = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    *out++ = kDigits[word >> 18];
    *out++ = kDigits[word >> 12 & 63];
    *out++ = kDigits[word >> 6 & 63];
    *out++ = kDigits[word & 63];
  }
  if (size_t rest = bytes.size() - i; rest != 0) {
    uint32_t word = at(i) << 16 | (rest == 2 ? at(i + 1) << 8 : 0);
    *out++ = kDigits[word >> 18];
    *out++ = kDigits[word >> 12 & 63];
    *out++ = rest == 2 ? kDigits[word >> 6 & 63] : '=';
    *out++ = '=';
  }
  *out++ = '"';
  size_ = static_cast<size_t>(out - data_.get());
}

bool IsUtf8(std::string_view text) {
  const auto* p = reinterpret_cast<const unsigned char*>(text.data());
  const auto* end = p + text.size();
  while (p != end) {
    uint64_t word;
    while (end - p >= 8) {
      std::memcpy(&word, p, 8);
      if ((word & kHighs) != 0) break;
      p += 8;
    }
    if (p == end) return true;
    unsigned char c = *p++;
    if (c < 0x80) continue;
    int more = c >= 0xf0 ? 3 : c >= 0xe0 ? 2 : 1;
    if (c < 0xc2 || c > 0xf4 || end - p < more) return false;
    unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    unsigned char high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (*p < low || *p > high) return false;
    for (int i = 0; i < more; ++i) {
      if ((p[i] & 0xc0) != 0x80) return false;
    }
    p += more;
  }
  return true;
}

}  // namespace runnel::feed
