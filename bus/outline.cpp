#include "bus/outline.h"

#include <optional>

#include "bus/envelope_wire.h"
#include "bus/wire_scan.h"

namespace runnel::bus {
namespace {

Error Corrupt(std::string message) { return Error(Errc::kCorrupt, "envelope: " + std::move(message)); }

// Field numbers of envelope.proto.
constexpr uint32_t kChunkEntry = 1;
constexpr uint32_t kChunkIndex = 2;
constexpr uint32_t kChunkLast = 3;

Result<EntryOutline> CheckedEntry(const RawEntry& raw) {
  TRY(CheckEntry(raw.min_txid, raw.max_txid, raw.origin));
  return EntryOutline{Txid(raw.min_txid), Txid(raw.max_txid), static_cast<Origin>(raw.origin)};
}

Status ScanEntries(std::string_view payload, Outline& out) {
  WireScanner scanner(payload);
  while (std::optional<WireField> field = scanner.Next()) {
    if (!field->Is(kEntriesField, WireType::kDelimited)) continue;
    RawEntry raw;
    if (!ScanEntry(field->bytes, raw)) return Corrupt("an entry is malformed");
    TRY_ASSIGN(EntryOutline entry, CheckedEntry(raw));
    out.entries.push_back(entry);
  }
  if (out.entries.empty()) return Corrupt("commits without an entry");
  return CheckCarries(out.header, {out.entries.front().min_txid, out.entries.back().max_txid});
}

Status ScanChunk(std::string_view bytes, Outline& out) {
  RawEntry raw;
  WireScanner scanner(bytes);
  while (std::optional<WireField> field = scanner.Next()) {
    if (field->Is(kChunkEntry, WireType::kDelimited) && !ScanEntry(field->bytes, raw)) {
      return Corrupt("a chunk's entry is malformed");
    }
    if (field->Is(kChunkIndex, WireType::kVarint)) out.chunk_index = static_cast<uint32_t>(field->value);
    if (field->Is(kChunkLast, WireType::kVarint)) out.chunk_last = field->value != 0;
  }
  if (scanner.failed()) return Corrupt("a chunk is malformed");
  TRY_ASSIGN(EntryOutline entry, CheckedEntry(raw));
  out.entries.push_back(entry);
  return CheckCarries(out.header, {entry.min_txid, entry.max_txid});
}

}  // namespace

Result<Outline> DecodeOutline(std::string_view payload) {
  TRY_ASSIGN(WireParts parts, SplitEnvelope(payload));
  TRY_ASSIGN(WireHeader header, DecodeWireHeader(parts.header));
  Outline out;
  out.header = std::move(header.header);
  if (header.kind == Kind::kUnspecified) return Corrupt("no kind");
  // Few and small: one that says nothing must not hide an older one that does.
  out.refers = header.kind == Kind::kSnapshotRef && Decode(payload).ok();
  if (header.kind == Kind::kCommits) {
    out.carries = Outline::Carries::kEntries;
    TRY(ScanEntries(payload, out));
  } else if (header.kind == Kind::kChunk) {
    out.carries = Outline::Carries::kChunk;
    TRY(ScanChunk(parts.chunk, out));
  }
  return out;
}

Result<Header> DecodeHeader(std::string_view payload) {
  TRY_ASSIGN(WireParts parts, SplitEnvelope(payload));
  TRY_ASSIGN(WireHeader header, DecodeWireHeader(parts.header));
  return std::move(header.header);
}

}  // namespace runnel::bus
