#include "subscriber/feed/token.h"

#include <charconv>

namespace runnel::feed {
namespace {

constexpr size_t kLineageDigits = 32;
constexpr size_t kTxidDigits = 16;

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

std::string ToString(const LineageId& lineage) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (uint8_t byte : lineage) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

std::string ToString(const Token& token) {
  return ToString(token.lineage) + ":" + runnel::ToString(token.txid) + (token.snapshot ? ":s" : ":") +
         std::to_string(token.ordinal);
}

std::optional<LineageId> ParseLineageId(std::string_view text) {
  if (text.size() != kLineageDigits) return std::nullopt;
  LineageId lineage{};
  for (size_t i = 0; i < lineage.size(); ++i) {
    int high = HexDigit(text[2 * i]);
    int low = HexDigit(text[2 * i + 1]);
    if (high < 0 || low < 0) return std::nullopt;
    lineage[i] = static_cast<uint8_t>(high << 4 | low);
  }
  return lineage;
}

std::optional<Token> ParseToken(std::string_view text) {
  constexpr size_t kHead = kLineageDigits + 1 + kTxidDigits + 1;
  if (text.size() <= kHead || text[kLineageDigits] != ':' || text[kHead - 1] != ':') return std::nullopt;
  std::optional<LineageId> lineage = ParseLineageId(text.substr(0, kLineageDigits));
  std::optional<Txid> txid = ParseTxid(text.substr(kLineageDigits + 1, kTxidDigits));
  if (!lineage || !txid) return std::nullopt;
  Token token{*lineage, *txid, text[kHead] == 's', 0};
  std::string_view number = text.substr(token.snapshot ? kHead + 1 : kHead);
  if (number.empty() || (number.size() > 1 && number.front() == '0')) return std::nullopt;
  auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), token.ordinal);
  if (error != std::errc() || end != number.data() + number.size()) return std::nullopt;
  return token;
}

}  // namespace runnel::feed
