#include "ltx/format/types.h"

#include <charconv>

namespace runnel {
namespace {

constexpr size_t kHexDigits = 16;

std::string ToHex16(uint64_t value) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string out(kHexDigits, '0');
  for (size_t i = kHexDigits; i-- > 0; value >>= 4) {
    out[i] = kDigits[value & 15];
  }
  return out;
}

std::optional<uint64_t> ParseHex16(std::string_view text) {
  if (text.size() != kHexDigits) return std::nullopt;
  uint64_t value = 0;
  const char* end = text.data() + text.size();
  auto [stop, err] = std::from_chars(text.data(), end, value, 16);
  if (err != std::errc() || stop != end) return std::nullopt;
  return value;
}

}  // namespace

std::string ToString(Txid txid) { return ToHex16(txid.raw()); }
std::string ToString(Checksum checksum) { return ToHex16(checksum.raw()); }

std::optional<Txid> ParseTxid(std::string_view text) {
  std::optional<uint64_t> raw = ParseHex16(text);
  return raw ? std::optional(Txid(*raw)) : std::nullopt;
}

std::optional<Checksum> ParseChecksum(std::string_view text) {
  std::optional<uint64_t> raw = ParseHex16(text);
  return raw ? std::optional(Checksum(*raw)) : std::nullopt;
}

std::string ToString(const Position& position) { return ToString(position.txid) + "/" + ToString(position.checksum); }

std::optional<Position> ParsePosition(std::string_view text) {
  if (text.size() != 2 * kHexDigits + 1 || text[kHexDigits] != '/') return std::nullopt;
  std::optional<Txid> txid = ParseTxid(text.substr(0, kHexDigits));
  std::optional<Checksum> checksum = ParseChecksum(text.substr(kHexDigits + 1));
  if (!txid || !checksum) return std::nullopt;
  return Position{*txid, *checksum};
}

}  // namespace runnel
