// Inside bus only: what is on the wire and its rules, shared by Decode (everything), ViewCommits (uncopied) and
// DecodeOutline (without the bytes).
#pragma once

#include <string_view>

#include "bus/envelope.h"
#include "ltx/base/result.h"

namespace runnel::bus {

// Values of Kind in envelope.proto. Fixed for ever.
enum class Kind : int {
  kUnspecified = 0,
  kCommits = 1,
  kChunk = 2,
  kSnapshotRef = 3,
  kHeartbeat = 4,
  kTakeOver = 5,
};

inline constexpr uint32_t kFormatVersion = 1;
inline constexpr uint32_t kPackedFormatVersion = 2;  // as 1, and LTX files may be packed
// Largest payload taken: the hard limit of the largest bus, NATS.
inline constexpr size_t kPayloadBytesMax = size_t{64} << 20;
// Entries of one message: far above what a publisher gathers, small enough that a hostile message stays cheap.
inline constexpr size_t kEntryCountMax = 65536;
// Node ids and URLs are for people.
inline constexpr size_t kTextBytesMax = 4096;

// Number of the envelope's field that stands once an entry.
inline constexpr uint32_t kEntriesField = 2;

struct WireHeader {
  Header header;
  Kind kind = Kind::kUnspecified;  // may hold a number this program does not know
  bool may_pack = false;           // its format version has packed LTX files
};

// The fields of Envelope in the message, uncopied.
struct WireParts {
  std::string_view header;
  std::string_view chunk;
  std::string_view snapshot_ref;
  std::string_view packed;
  size_t entry_count = 0;
  bool has_chunk = false;
  bool has_snapshot_ref = false;
  bool has_packed = false;
};

// Errors: kCorrupt (not an envelope, or too large).
Result<WireParts> SplitEnvelope(std::string_view payload);

// Parses and checks the header. Errors: kCorrupt, kUnsupported (format version).
Result<WireHeader> DecodeWireHeader(std::string_view bytes);

// One entry as it is on the wire, with nothing checked. `ltx`: uncopied.
struct RawEntry {
  uint64_t min_txid = 0;
  uint64_t max_txid = 0;
  int32_t origin = 0;
  int64_t captured_us = 0;
  std::string_view ltx;
  uint64_t wal_checksum = 0;
  uint64_t ltx_bytes = 0;
};
// As Protobuf does, a later value of a field replaces an earlier one. False: malformed.
bool ScanEntry(std::string_view bytes, RawEntry& raw);

// Errors: kCorrupt (what another kind carries).
Status CheckOnlyItsOwnBody(Kind kind, const WireParts& parts);

// The entries of a message of commits, by all their rules. Errors: kCorrupt, kUnsupported.
struct CommitsView;
Result<CommitsView> ViewEntries(std::string_view payload, const WireParts& parts, WireHeader header);

// The rules between a header and what its message carries.
struct CarriedRange {
  Txid min_txid;
  Txid max_txid;
};
Status CheckCarries(const Header& header, const CarriedRange& range);
Status CheckCarriesNothing(const Header& header);

// The rules of one entry, without its bytes. Errors: kCorrupt; kUnsupported (an origin this program does not know).
Status CheckEntry(uint64_t min_txid, uint64_t max_txid, int origin);

}  // namespace runnel::bus
