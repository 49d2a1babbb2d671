#include "bus/envelope_wire.h"

#include <algorithm>

#include "bus/url.h"
#include "bus/wire_scan.h"
#include "envelope.pb.h"

namespace runnel::bus {
namespace {

Error Corrupt(std::string message) { return Error(Errc::kCorrupt, "envelope: " + std::move(message)); }

constexpr uint32_t kHeaderField = 1;
constexpr uint32_t kChunkField = 3;
constexpr uint32_t kSnapshotRefField = 4;
constexpr uint32_t kPackedField = 5;

// Whether the strings of a message (fields `a` and `b`) are text.
bool HasTextOnly(std::string_view message, uint32_t a, uint32_t b) {
  WireScanner scanner(message);
  while (std::optional<WireField> field = scanner.Next()) {
    bool is_text = field->Is(a, WireType::kDelimited) || field->Is(b, WireType::kDelimited);
    if (is_text && !IsUtf8(field->bytes)) return false;
  }
  return !scanner.failed();
}

// Whether the message, and what it holds in field `nested` (0: nothing), is made of plain fields. Protobuf would also
// take groups, which hide fields from a scan.
bool IsPlain(std::string_view message, uint32_t nested) {
  WireScanner scanner(message);
  while (std::optional<WireField> field = scanner.Next()) {
    if (field->Is(nested, WireType::kDelimited) && !IsPlain(field->bytes, 0)) return false;
  }
  return !scanner.failed();
}
constexpr uint32_t kHeaderDatabase = 5;
constexpr uint32_t kHeaderNode = 9;
constexpr uint32_t kSnapshotRefUrl = 1;
constexpr uint32_t kSnapshotRefObject = 2;
constexpr uint32_t kChunkEntry = 1;
constexpr uint32_t kEntryMinTxid = 1;
constexpr uint32_t kEntryMaxTxid = 2;
constexpr uint32_t kEntryOrigin = 3;
constexpr uint32_t kEntryCapturedUs = 4;
constexpr uint32_t kEntryLtx = 5;
constexpr uint32_t kEntryWalChecksum = 6;
constexpr uint32_t kEntryLtxBytes = 7;

}  // namespace

Result<WireParts> SplitEnvelope(std::string_view payload) {
  if (payload.size() > kPayloadBytesMax) {
    return Corrupt(std::to_string(payload.size()) + " bytes are more than any message may have");
  }
  WireParts parts;
  uint32_t seen = 0;  // a bit for each field that may stand once
  WireScanner scanner(payload);
  while (std::optional<WireField> field = scanner.Next()) {
    if (field->type != WireType::kDelimited) continue;
    // Protobuf would merge a repeated header or chunk into one; then what a cheap look sees and what a full one sees
    // could differ, so such a message is not an envelope.
    const bool once = field->number <= kPackedField && field->number != kEntriesField;
    const uint32_t bit = once ? 1u << field->number : 0;
    if ((seen & bit) != 0) return Corrupt("field " + std::to_string(field->number) + " stands twice");
    seen |= bit;
    switch (field->number) {
      case kHeaderField: parts.header = field->bytes; break;
      case kEntriesField:
        if (++parts.entry_count > kEntryCountMax) return Corrupt("too many entries");
        if (!IsPlain(field->bytes, 0)) return Corrupt("an entry is malformed");
        break;
      case kChunkField:
        parts.has_chunk = true;
        parts.chunk = field->bytes;
        break;
      case kSnapshotRefField:
        parts.has_snapshot_ref = true;
        parts.snapshot_ref = field->bytes;
        break;
      case kPackedField:
        parts.has_packed = true;
        parts.packed = field->bytes;
        if (!IsPlain(field->bytes, 0)) return Corrupt("the packed files are malformed");
        break;
      default: break;  // a later format's field
    }
  }
  if (scanner.failed()) return Corrupt("not a protobuf message");
  if ((seen & 1u << kHeaderField) == 0) return Corrupt("no header");
  if (!IsPlain(parts.chunk, kChunkEntry)) return Corrupt("a chunk is malformed");
  if (!HasTextOnly(parts.snapshot_ref, kSnapshotRefUrl, kSnapshotRefObject)) {
    return Corrupt("the snapshot reference is not text");
  }
  return parts;
}

Result<WireHeader> DecodeWireHeader(std::string_view bytes) {
  if (!HasTextOnly(bytes, kHeaderDatabase, kHeaderNode)) return Corrupt("the header is malformed");
  v1::Header wire;
  if (!wire.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) return Corrupt("the header is malformed");
  if (wire.format_version() == 0) return Corrupt("no format version");
  if (wire.format_version() > kPackedFormatVersion) {
    return Error(Errc::kUnsupported, "envelope: format version " + std::to_string(wire.format_version()) +
                                         " is newer than this program understands (" +
                                         std::to_string(kPackedFormatVersion) + "); upgrade it");
  }
  WireHeader out;
  out.may_pack = wire.format_version() >= kPackedFormatVersion;
  out.kind = static_cast<Kind>(static_cast<int>(wire.kind()));
  Header& header = out.header;
  if (wire.lineage().size() != header.lineage.bytes.size()) {
    return Corrupt("lineage of " + std::to_string(wire.lineage().size()) + " bytes instead of 16");
  }
  std::ranges::copy(wire.lineage(), header.lineage.bytes.begin());
  if (wire.epoch() == 0) return Corrupt("epoch 0");
  header.epoch = Epoch(wire.epoch());
  if (!IsDatabaseName(wire.database())) return Corrupt("bad database name");
  header.database = std::move(*wire.mutable_database());
  if (wire.max_txid() == UINT64_MAX || wire.min_txid() == 0 || wire.min_txid() > wire.max_txid() + 1) {
    return Corrupt("TXID range " + std::to_string(wire.min_txid()) + " to " + std::to_string(wire.max_txid()));
  }
  header.min_txid = Txid(wire.min_txid());
  header.position = Position{Txid(wire.max_txid()), Checksum(wire.position_checksum())};
  if (wire.position_checksum() != 0 && !header.position.checksum.valid()) {
    return Corrupt("position checksum " + ToString(header.position.checksum) + " lacks its flag bit");
  }
  if (wire.node().size() > kTextBytesMax) return Corrupt("node id too long");
  header.node = std::move(*wire.mutable_node());
  header.captured_at = CaptureTime(std::chrono::microseconds(wire.captured_us()));
  if (!PageSize::IsValid(wire.page_size())) return Corrupt("page size " + std::to_string(wire.page_size()));
  header.page_size = PageSize(wire.page_size());
  return out;
}

bool ScanEntry(std::string_view bytes, RawEntry& raw) {
  WireScanner scanner(bytes);
  while (std::optional<WireField> field = scanner.Next()) {
    if (field->type == WireType::kVarint) {
      switch (field->number) {
        case kEntryMinTxid: raw.min_txid = field->value; break;
        case kEntryMaxTxid: raw.max_txid = field->value; break;
        case kEntryOrigin: raw.origin = static_cast<int32_t>(static_cast<uint32_t>(field->value)); break;
        case kEntryCapturedUs: raw.captured_us = static_cast<int64_t>(field->value); break;
        case kEntryLtxBytes: raw.ltx_bytes = field->value; break;
        default: break;
      }
    }
    if (field->Is(kEntryLtx, WireType::kDelimited)) raw.ltx = field->bytes;
    if (field->Is(kEntryWalChecksum, WireType::kFixed64)) raw.wal_checksum = field->value;
  }
  return !scanner.failed();
}

Status CheckOnlyItsOwnBody(Kind kind, const WireParts& parts) {
  bool foreign = (parts.entry_count != 0 && kind != Kind::kCommits) || (parts.has_chunk && kind != Kind::kChunk) ||
                 (parts.has_snapshot_ref && kind != Kind::kSnapshotRef) || (parts.has_packed && kind != Kind::kCommits);
  if (!foreign) return Ok();
  return Corrupt("a message of kind " + std::to_string(static_cast<int>(kind)) + " carries what another kind carries");
}

Status CheckCarries(const Header& header, const CarriedRange& range) {
  if (range.min_txid == header.min_txid && range.max_txid == header.position.txid) return Ok();
  return Corrupt("carries TXIDs " + ToString(range.min_txid) + "-" + ToString(range.max_txid) + ", the header says " +
                 ToString(header.min_txid) + "-" + ToString(header.position.txid));
}

Status CheckCarriesNothing(const Header& header) {
  if (header.min_txid == header.position.txid.Next()) return Ok();
  return Corrupt("carries no LTX, but the header claims TXIDs from " + ToString(header.min_txid));
}

Status CheckEntry(uint64_t min_txid, uint64_t max_txid, int origin) {
  if (min_txid == 0 || max_txid < min_txid || max_txid == UINT64_MAX) {
    return Corrupt("entry with TXIDs " + std::to_string(min_txid) + " to " + std::to_string(max_txid));
  }
  if (origin < 0 || origin > static_cast<int>(Origin::kSnapshot)) {
    return Error(Errc::kUnsupported,
                 "envelope: entry of unknown origin " + std::to_string(origin) + "; upgrade this program");
  }
  if (origin == static_cast<int>(Origin::kCommit) && min_txid != max_txid) {
    return Corrupt("entry of one commit with TXIDs " + std::to_string(min_txid) + " to " + std::to_string(max_txid));
  }
  if (origin == static_cast<int>(Origin::kSnapshot) && min_txid != 1) {
    return Corrupt("snapshot entry that starts at TXID " + std::to_string(min_txid));
  }
  return Ok();
}

}  // namespace runnel::bus
