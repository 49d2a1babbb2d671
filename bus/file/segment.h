// The byte format of a segment file (SEGMENT.md): a header, then records back to back. Big-endian throughout.
//
//   segment header, 64 bytes                          record header, 36 bytes, then the payload
//    0  8  magic "RNLSEG01"                            0  4  magic "RNLr"
//    8  4  CRC-32C of bytes 12..63                     4  4  CRC-32C of bytes 8..35, started with the incarnation
//   12  4  format version, 1                           8  8  sequence
//   16 16  incarnation of the log                     16  8  stored at, microseconds since 1970
//   32  8  sequence of the first record               24  4  payload bytes
//   40  8  created, microseconds since 1970           28  4  CRC-32C of the payload
//   48 16  zero                                       32  4  bytes of this segment known to be on disk when it was
//   written
//
// A record's check starts with the log's incarnation, so bytes of another log, or of a log deleted and made again, are
// never taken for a record of this one. The last field tells a torn tail from damage: nothing below it can be torn.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>

#include "bus/bus.h"
#include "ltx/base/bytes.h"
#include "ltx/base/result.h"

namespace runnel::bus::file {

inline constexpr size_t kSegmentHeaderBytes = 64;
inline constexpr size_t kRecordHeaderBytes = 36;
inline constexpr uint32_t kSegmentVersion = 1;
// Largest payload: bounds what a reader allocates for one record.
inline constexpr uint32_t kRecordPayloadBytesMax = 8u << 20;
// Offsets are kept in 32 bits; a segment is closed long before.
inline constexpr uint64_t kSegmentBytesLimit = uint64_t{1} << 31;

// Made at random when the log is made; 32 hex digits as text.
struct Incarnation {
  std::array<std::byte, 16> bytes{};
  bool operator==(const Incarnation&) const = default;
  static Incarnation Random();
};
std::string ToString(const Incarnation& incarnation);

struct SegmentHeader {
  Incarnation incarnation;
  StreamSeq first_seq;
  WallTime created_at;
};

struct RecordHeader {
  StreamSeq seq;
  WallTime stored_at;
  uint32_t payload_bytes = 0;
  uint32_t payload_crc = 0;
  uint32_t synced_bytes = 0;

  uint64_t total_bytes() const { return kRecordHeaderBytes + uint64_t{payload_bytes}; }
};

// CRC-32C (Castagnoli); `crc` continues an earlier one.
uint32_t Crc32c(Bytes bytes, uint32_t crc = 0);

std::string EncodeSegmentHeader(const SegmentHeader& header);
// Errors: kCorrupt; kUnsupported (version).
Result<SegmentHeader> DecodeSegmentHeader(Bytes bytes);

// Errors: kInvalid: larger than a record takes.
Status CheckPayloadSize(std::string_view payload);

// Appends header and payload. REQUIRES: payload.size() <= kRecordPayloadBytesMax.
void AppendRecord(std::string& out, const Incarnation& incarnation, StreamSeq seq, WallTime stored_at,
                  uint32_t synced_bytes, std::string_view payload);
// nullopt: no record starts with these bytes. REQUIRES: bytes.size() >= kRecordHeaderBytes.
std::optional<RecordHeader> DecodeRecordHeader(Bytes bytes, const Incarnation& incarnation);

}  // namespace runnel::bus::file
