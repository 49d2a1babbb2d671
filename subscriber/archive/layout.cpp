#include "subscriber/archive/layout.h"

#include "ltx/format/header.h"

namespace runnel::archive {
namespace {

constexpr std::string_view kLtxSuffix = ".ltx";
constexpr std::string_view kSegmentSuffix = ".seg";
constexpr size_t kTxidDigits = 16;

std::string RangeText(Txid min_txid, Txid max_txid) { return ToString(min_txid) + "-" + ToString(max_txid); }

bool TakePrefix(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

bool IsLowerHex(std::string_view text) { return text.find_first_not_of("0123456789abcdef") == std::string_view::npos; }

// "<16 hex>-<16 hex><suffix>"
bool ParseRange(std::string_view text, std::string_view suffix, ObjectName& name) {
  if (text.size() != 2 * kTxidDigits + 1 + suffix.size() || !text.ends_with(suffix) || text[kTxidDigits] != '-') {
    return false;
  }
  const std::string_view min_text = text.substr(0, kTxidDigits);
  const std::string_view max_text = text.substr(kTxidDigits + 1, kTxidDigits);
  if (!IsLowerHex(min_text) || !IsLowerHex(max_text)) return false;
  name.min_txid = *ParseTxid(min_text);
  name.max_txid = *ParseTxid(max_text);
  return name.min_txid > Txid() && name.min_txid <= name.max_txid;
}

}  // namespace

std::string ToString(const ObjectName& name) {
  const std::string range = RangeText(name.min_txid, name.max_txid);
  if (name.kind == ObjectKind::kSegment) return "segment " + range;
  return "level " + std::to_string(name.level) + " " + range;
}

Result<Layout> Layout::ForScheme(std::string_view scheme) {
  if (scheme == "s3") return Layout(Dialect::kS3);
  if (scheme == "file" || scheme == "nats" || scheme == "tls") return Layout(Dialect::kTree);
  return Error(Errc::kInvalid, "no archive layout for " + std::string(scheme) + "://");
}

Result<Layout> Layout::ForUrl(std::string_view url) {
  const size_t end = url.find("://");
  if (end == std::string_view::npos) return Error(Errc::kInvalid, "not the URL of an archive");
  return ForScheme(url.substr(0, end));
}

std::string Layout::LevelPrefix(uint8_t level) const {
  const char digit = static_cast<char>('0' + level);
  return dialect_ == Dialect::kS3 ? std::string("000") + digit + "/" : std::string("ltx/") + digit + "/";
}

std::string Layout::Key(const ObjectName& name) const {
  if (name.kind == ObjectKind::kSegment) {
    return SegmentPrefix() + RangeText(name.min_txid, name.max_txid) + std::string(kSegmentSuffix);
  }
  return LevelPrefix(name.level) + ltx::FileName(name.min_txid, name.max_txid);
}

std::optional<ObjectName> Layout::Parse(std::string_view key) const {
  ObjectName name;
  if (TakePrefix(key, SegmentPrefix())) {
    name.kind = ObjectKind::kSegment;
    if (!ParseRange(key, kSegmentSuffix, name)) return std::nullopt;
    return name;
  }
  for (uint8_t level = 0; level <= kSnapshotLevel; ++level) {
    if (!TakePrefix(key, LevelPrefix(level))) continue;
    name.level = level;
    if (!ParseRange(key, kLtxSuffix, name)) return std::nullopt;
    if (level == kSnapshotLevel && name.min_txid != Txid(1)) return std::nullopt;
    return name;
  }
  return std::nullopt;
}

}  // namespace runnel::archive
