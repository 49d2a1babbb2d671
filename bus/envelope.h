// What one message of the log says, as plain C++ values; encode and decode hide Protobuf (bus/envelope.proto)
// completely. Everything decoded is untrusted: bounds and the rules named here are checked before a value is returned.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::bus {

// Random 128-bit id of one unbroken history of one database. Text: 32 lower-case hex digits.
struct Lineage {
  std::array<uint8_t, 16> bytes{};
  auto operator<=>(const Lineage&) const = default;
  static Lineage Random();
};
std::string ToString(const Lineage& lineage);
std::optional<Lineage> ParseLineage(std::string_view text);

// Counter of leaderships within a lineage, from 1.
class Epoch : public StrongInt<Epoch, uint64_t> {
 public:
  using StrongInt::StrongInt;
  constexpr Epoch Next() const { return Epoch(raw() + 1); }
};

using CaptureTime = std::chrono::sys_time<std::chrono::microseconds>;

// How an LTX file's page set came to be. A feed rebuilds its page map behind kDelta.
enum class Origin : uint8_t { kCommit = 0, kRange = 1, kDelta = 2, kSnapshot = 3 };
std::string_view ToString(Origin origin);

// Common to all messages.
struct Header {
  Lineage lineage;
  Epoch epoch;
  std::string database;
  Txid min_txid;      // first TXID carried; max_txid + 1 when none is
  Position position;  // after this message; checksum is 0 on chunks before the last
  std::string node;
  CaptureTime captured_at;
  PageSize page_size;
};

// What is said of one LTX file of the log, beside it.
struct EntryInfo {
  Txid min_txid;
  Txid max_txid;
  Origin origin = Origin::kCommit;
  CaptureTime captured_at;
  uint64_t wal_checksum = 0;  // the WAL's running checksum behind it (both words), 0 if unknown
};
struct Entry : EntryInfo {
  std::string ltx;  // the whole file; empty inside a Chunk
};

struct Commits {
  std::vector<Entry> entries;  // at least one; TXIDs without gaps
};
struct Chunk {
  Entry entry;
  uint32_t index = 0;
  bool last = false;
  std::string data;
  uint64_t ltx_checksum = 0;  // on the last part: the LTX trailer's file checksum
  uint64_t ltx_bytes = 0;     // on the last part: size of the whole file
};
// Instead of a whole image in the log: where one is. Like a heartbeat it carries no LTX, and its header is the log's
// position, which the image may be far behind: the archive and the log lead on from it.
struct SnapshotRef {
  std::string url;     // of the archive, without credentials
  std::string object;  // key of the image there: an LTX file
  Position image;      // never 0, at most the header's
};
struct Heartbeat {};
struct TakeOverMarker {};
struct UnknownKind {
  int kind = 0;
};

struct Envelope {
  Header header;
  std::variant<Commits, Chunk, SnapshotRef, Heartbeat, TakeOverMarker, UnknownKind> body;
};

// Takes the envelope: what is long in it moves and is copied once, into the payload.
std::string Encode(Envelope envelope);

// The LTX files of all entries of a message, one behind the other, as one LZ4 block (bus/packer.h makes it).
struct PackedLtx {
  uint64_t bytes = 0;  // uncompressed
  std::string lz4_block;
};
// As Encode, with `packed` in place of the entries' own bytes.
std::string EncodePacked(Envelope envelope, PackedLtx packed);

// Errors: kCorrupt (not an envelope, a rule broken), kUnsupported (a newer format version).
Result<Envelope> Decode(std::string_view payload);

// Only the header: cheap, for finding a TXID in a log.
Result<Header> DecodeHeader(std::string_view payload);

}  // namespace runnel::bus
