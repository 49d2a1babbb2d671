#include "bus/envelope.h"

#include <sys/random.h>

#include <cerrno>
#include <span>

#include "bus/commits_view.h"
#include "bus/envelope_wire.h"
#include "envelope.pb.h"
#include "ltx/base/bytes.h"
#include "ltx/base/check.h"

namespace runnel::bus {
namespace {

Error Corrupt(std::string message) { return Error(Errc::kCorrupt, "envelope: " + std::move(message)); }

// ---- encode: takes what is long out of the body ----

void SetEntry(Entry& entry, v1::Entry& wire) {
  wire.set_min_txid(entry.min_txid.raw());
  wire.set_max_txid(entry.max_txid.raw());
  wire.set_origin(static_cast<v1::Origin>(entry.origin));
  wire.set_captured_us(entry.captured_at.time_since_epoch().count());
  wire.set_wal_checksum(entry.wal_checksum);
  wire.set_ltx(std::move(entry.ltx));
}

Kind SetBody(Commits& commits, v1::Envelope& wire) {
  for (Entry& entry : commits.entries) {
    SetEntry(entry, *wire.add_entries());
  }
  return Kind::kCommits;
}

Kind SetBody(Chunk& chunk, v1::Envelope& wire) {
  v1::Chunk& out = *wire.mutable_chunk();
  SetEntry(chunk.entry, *out.mutable_entry());
  out.set_index(chunk.index);
  out.set_last(chunk.last);
  out.set_data(std::move(chunk.data));
  out.set_ltx_checksum(chunk.ltx_checksum);
  out.set_ltx_bytes(chunk.ltx_bytes);
  return Kind::kChunk;
}

Kind SetBody(SnapshotRef& ref, v1::Envelope& wire) {
  v1::SnapshotRef& out = *wire.mutable_snapshot_ref();
  out.set_url(std::move(ref.url));
  out.set_object(std::move(ref.object));
  out.set_txid(ref.image.txid.raw());
  out.set_checksum(ref.image.checksum.raw());
  return Kind::kSnapshotRef;
}

Kind SetBody(const Heartbeat&, v1::Envelope&) { return Kind::kHeartbeat; }
Kind SetBody(const TakeOverMarker&, v1::Envelope&) { return Kind::kTakeOver; }
Kind SetBody(const UnknownKind& unknown, v1::Envelope&) { return static_cast<Kind>(unknown.kind); }

void SetHeader(const Header& header, Kind kind, v1::Header& wire) {
  wire.set_format_version(kFormatVersion);
  wire.set_kind(static_cast<v1::Kind>(kind));
  wire.set_lineage(header.lineage.bytes.data(), header.lineage.bytes.size());
  wire.set_epoch(header.epoch.raw());
  wire.set_database(header.database);
  wire.set_min_txid(header.min_txid.raw());
  wire.set_max_txid(header.position.txid.raw());
  wire.set_position_checksum(header.position.checksum.raw());
  wire.set_node(header.node);
  wire.set_captured_us(header.captured_at.time_since_epoch().count());
  wire.set_page_size(header.page_size.raw());
}

void SetEnvelope(Envelope& envelope, v1::Envelope& wire) {
  Kind kind = std::visit([&wire](auto& body) { return SetBody(body, wire); }, envelope.body);
  SetHeader(envelope.header, kind, *wire.mutable_header());
}

// ---- decode ----

Result<Entry> TakeEntry(v1::Entry& wire) {
  TRY(CheckEntry(wire.min_txid(), wire.max_txid(), static_cast<int>(wire.origin())));
  Entry entry;
  entry.min_txid = Txid(wire.min_txid());
  entry.max_txid = Txid(wire.max_txid());
  entry.origin = static_cast<Origin>(wire.origin());
  entry.captured_at = CaptureTime(std::chrono::microseconds(wire.captured_us()));
  entry.wal_checksum = wire.wal_checksum();
  entry.ltx = std::move(*wire.mutable_ltx());
  return entry;
}

Commits Copied(const CommitsView& view) {
  Commits commits;
  commits.entries.reserve(view.entries.size());
  for (const EntryView& entry : view.entries) commits.entries.push_back({entry, std::string(AsText(entry.ltx))});
  return commits;
}

Result<Chunk> TakeChunk(const Header& header, v1::Chunk& wire) {
  Chunk chunk;
  TRY_ASSIGN(chunk.entry, TakeEntry(*wire.mutable_entry()));
  TRY(CheckCarries(header, {chunk.entry.min_txid, chunk.entry.max_txid}));
  if (!chunk.entry.ltx.empty()) return Corrupt("a chunk's entry holds LTX bytes");
  chunk.index = wire.index();
  chunk.last = wire.last();
  chunk.data = std::move(*wire.mutable_data());
  chunk.ltx_checksum = wire.ltx_checksum();
  chunk.ltx_bytes = wire.ltx_bytes();
  if (chunk.data.empty()) return Corrupt("chunk " + std::to_string(chunk.index) + " without data");
  if (!chunk.last) {
    bool early = chunk.ltx_checksum != 0 || chunk.ltx_bytes != 0 || header.position.checksum.raw() != 0;
    if (early) return Corrupt("chunk " + std::to_string(chunk.index) + " is not the last but says how the file ends");
    return chunk;
  }
  if (!header.position.checksum.valid()) return Corrupt("last chunk without a position checksum");
  // Every part before it held at least one byte.
  uint64_t bytes_min = chunk.data.size() + chunk.index;
  if (chunk.ltx_bytes < bytes_min || (chunk.index == 0 && chunk.ltx_bytes != chunk.data.size())) {
    return Corrupt("last chunk says the file has " + std::to_string(chunk.ltx_bytes) + " bytes, but the parts have " +
                   std::to_string(bytes_min) + " or more");
  }
  return chunk;
}

Result<SnapshotRef> TakeSnapshotRef(const Header& header, v1::SnapshotRef& wire) {
  TRY(CheckCarriesNothing(header));
  if (wire.url().empty() || wire.object().empty()) return Corrupt("snapshot reference without url or object");
  if (wire.url().size() > kTextBytesMax || wire.object().size() > kTextBytesMax) {
    return Corrupt("snapshot reference too long");
  }
  const Position image{Txid(wire.txid()), Checksum(wire.checksum())};
  if (image.txid == Txid() || image.txid > header.position.txid || !image.checksum.valid()) {
    return Corrupt("snapshot reference to " + ToString(image) + " in a log at " + ToString(header.position));
  }
  return SnapshotRef{std::move(*wire.mutable_url()), std::move(*wire.mutable_object()), image};
}

Status TakeBody(Kind kind, v1::Envelope& wire, Envelope& out) {
  switch (kind) {
    case Kind::kCommits: break;  // ViewEntries takes them
    case Kind::kChunk: {
      TRY_ASSIGN(out.body, TakeChunk(out.header, *wire.mutable_chunk()));
      return Ok();
    }
    case Kind::kSnapshotRef: {
      TRY_ASSIGN(out.body, TakeSnapshotRef(out.header, *wire.mutable_snapshot_ref()));
      return Ok();
    }
    case Kind::kHeartbeat: out.body = Heartbeat{}; return CheckCarriesNothing(out.header);
    case Kind::kTakeOver: out.body = TakeOverMarker{}; return CheckCarriesNothing(out.header);
    case Kind::kUnspecified: return Corrupt("no kind");
  }
  out.body = UnknownKind{static_cast<int>(kind)};  // of a newer program: its header is all we know
  return Ok();
}

bool IsKnown(Kind kind) { return kind >= Kind::kUnspecified && kind <= Kind::kTakeOver; }

}  // namespace

Lineage Lineage::Random() {
  Lineage lineage;
  size_t filled = 0;
  while (filled < lineage.bytes.size()) {
    ssize_t got = ::getrandom(lineage.bytes.data() + filled, lineage.bytes.size() - filled, 0);
    CHECK(got > 0 || errno == EINTR, "getrandom");  // cannot fail on a kernel that has it
    if (got > 0) filled += static_cast<size_t>(got);
  }
  return lineage;
}

std::string ToString(const Lineage& lineage) { return ToHex(std::as_bytes(std::span(lineage.bytes))); }

std::optional<Lineage> ParseLineage(std::string_view text) {
  Lineage lineage;
  std::string bytes = FromHex(text);
  if (bytes.size() != lineage.bytes.size()) return std::nullopt;
  for (size_t i = 0; i < bytes.size(); ++i) {
    lineage.bytes[i] = static_cast<uint8_t>(bytes[i]);
  }
  return lineage;
}

std::string_view ToString(Origin origin) {
  switch (origin) {
    case Origin::kCommit: return "commit";
    case Origin::kRange: return "range";
    case Origin::kDelta: return "delta";
    case Origin::kSnapshot: return "snapshot";
  }
  return "unknown";
}

std::string Encode(Envelope envelope) {
  v1::Envelope wire;
  SetEnvelope(envelope, wire);
  return wire.SerializeAsString();
}

std::string EncodePacked(Envelope envelope, PackedLtx packed) {
  v1::Envelope wire;
  SetEnvelope(envelope, wire);
  wire.mutable_header()->set_format_version(kPackedFormatVersion);
  for (v1::Entry& entry : *wire.mutable_entries()) {
    entry.set_ltx_bytes(entry.ltx().size());
    entry.clear_ltx();
  }
  wire.mutable_packed()->set_bytes(packed.bytes);
  wire.mutable_packed()->set_lz4_block(std::move(packed.lz4_block));
  return wire.SerializeAsString();
}

Result<Envelope> Decode(std::string_view payload) {
  TRY_ASSIGN(WireParts parts, SplitEnvelope(payload));
  TRY_ASSIGN(WireHeader header, DecodeWireHeader(parts.header));
  Envelope out;
  if (!IsKnown(header.kind)) {
    out.header = std::move(header.header);
    out.body = UnknownKind{static_cast<int>(header.kind)};
    return out;
  }
  TRY(CheckOnlyItsOwnBody(header.kind, parts));
  if (header.kind == Kind::kCommits) {
    TRY_ASSIGN(CommitsView view, ViewEntries(payload, parts, std::move(header)));
    out.body = Copied(view);
    out.header = std::move(view.header);
    return out;
  }
  out.header = std::move(header.header);
  v1::Envelope wire;
  if (!wire.ParseFromArray(payload.data(), static_cast<int>(payload.size()))) return Corrupt("a field is malformed");
  TRY(TakeBody(header.kind, wire, out));
  return out;
}

}  // namespace runnel::bus
