#include "bus/commits_view.h"

#include <utility>

#include "bus/envelope_wire.h"
#include "bus/packer.h"
#include "bus/wire_scan.h"

namespace runnel::bus {
namespace {

Error Corrupt(std::string message) { return Error(Errc::kCorrupt, "envelope: " + std::move(message)); }

// Field numbers of envelope.proto.
constexpr uint32_t kPackedBytes = 1;
constexpr uint32_t kPackedLz4Block = 2;

Result<std::unique_ptr<std::string>> UnpackFiles(std::string_view packed) {
  uint64_t bytes = 0;
  std::string_view block;
  WireScanner scanner(packed);
  while (std::optional<WireField> field = scanner.Next()) {
    if (field->Is(kPackedBytes, WireType::kVarint)) bytes = field->value;
    if (field->Is(kPackedLz4Block, WireType::kDelimited)) block = field->bytes;
  }
  TRY_ASSIGN(std::string files, Unpack(block, bytes));
  return std::make_unique<std::string>(std::move(files));
}

// Takes the files of packed entries off the front of what was unpacked, one behind the other.
class PackedFiles {
 public:
  explicit PackedFiles(std::string_view files) : rest_(files) {}

  Status TakeInto(RawEntry& entry) {
    if (!entry.ltx.empty()) return Corrupt("an entry's bytes stand beside packed ones");
    if (entry.ltx_bytes > rest_.size()) return Corrupt("packed files are longer than what is packed");
    entry.ltx = rest_.substr(0, entry.ltx_bytes);
    rest_.remove_prefix(entry.ltx_bytes);
    return Ok();
  }
  Status CheckAllTaken() const {
    return rest_.empty() ? Ok() : Status(Corrupt("packed files are shorter than what is packed"));
  }

 private:
  std::string_view rest_;
};

Status AddEntry(const RawEntry& raw, std::vector<EntryView>& entries) {
  TRY(CheckEntry(raw.min_txid, raw.max_txid, raw.origin));
  EntryView entry;
  entry.min_txid = Txid(raw.min_txid);
  entry.max_txid = Txid(raw.max_txid);
  entry.origin = static_cast<Origin>(raw.origin);
  entry.captured_at = CaptureTime(std::chrono::microseconds(raw.captured_us));
  entry.wal_checksum = raw.wal_checksum;
  entry.ltx = AsBytes(raw.ltx);
  if (entry.ltx.empty()) return Corrupt("entry of TXID " + ToString(entry.min_txid) + " without bytes");
  if (!entries.empty() && entry.min_txid != entries.back().max_txid.Next()) {
    return Corrupt("entry of TXID " + ToString(entry.min_txid) + " behind TXID " + ToString(entries.back().max_txid));
  }
  entries.push_back(entry);
  return Ok();
}

}  // namespace

Result<CommitsView> ViewEntries(std::string_view payload, const WireParts& parts, WireHeader header) {
  if (parts.has_packed && !header.may_pack) return Corrupt("packed files in format version 1");
  CommitsView view;
  view.header = std::move(header.header);
  view.entries.reserve(parts.entry_count);
  if (parts.has_packed) {
    TRY_ASSIGN(view.unpacked, UnpackFiles(parts.packed));
  }
  PackedFiles files(parts.has_packed ? std::string_view(*view.unpacked) : std::string_view());
  WireScanner scanner(payload);
  while (std::optional<WireField> field = scanner.Next()) {
    if (!field->Is(kEntriesField, WireType::kDelimited)) continue;
    RawEntry raw;
    if (!ScanEntry(field->bytes, raw)) return Corrupt("an entry is malformed");
    if (parts.has_packed) TRY(files.TakeInto(raw));
    TRY(AddEntry(raw, view.entries));
  }
  TRY(files.CheckAllTaken());
  if (view.entries.empty()) return Corrupt("commits without an entry");
  TRY(CheckCarries(view.header, {view.entries.front().min_txid, view.entries.back().max_txid}));
  if (!view.header.position.checksum.valid()) return Corrupt("commits without a position checksum");
  return view;
}

Result<std::optional<CommitsView>> ViewCommits(std::string_view payload) {
  TRY_ASSIGN(WireParts parts, SplitEnvelope(payload));
  TRY_ASSIGN(WireHeader header, DecodeWireHeader(parts.header));
  if (header.kind != Kind::kCommits) return std::optional<CommitsView>();
  TRY(CheckOnlyItsOwnBody(header.kind, parts));
  TRY_ASSIGN(CommitsView view, ViewEntries(payload, parts, std::move(header)));
  return std::optional<CommitsView>(std::move(view));
}

}  // namespace runnel::bus
