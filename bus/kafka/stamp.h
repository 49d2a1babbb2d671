// The stamp: a record header that says where a record must lie. It is what makes an append-only log a fence.
//
// Kafka cannot append "only if the end is here", and an idempotent producer is not fenced by anybody. So every record
// names the offset it is meant for, and counts only if it lies there. A writer knows its offsets beforehand as long as
// nobody else appends; after one foreign record all its later ones are displaced, and every reader passes over them
// without knowing anything else. A takeover marker names the end its decision has seen: it counts only if nothing came
// in between (compare and append).
//
// The stamp also names the valid record before it, so that a reader that goes on from there knows when something is
// missing: lost by an unclean election, or of another log under the same name.
//
// Record header "runnel", 34 bytes, big-endian (fixed: logs hold it):
//   0  u8   version, 1
//   1  u8   flags: 1 = marker of a takeover; other bits 0
//   2  u64  offset this record is meant for
//  10  u64  leadership: random number of the takeover, never 0
//  18  u64  sequence (offset + 1) of the valid record before this one, 0 = none
//  26  u64  leadership of that record, 0 = none
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ltx/base/bytes.h"

namespace runnel::bus::kafka {

inline constexpr char kStampHeader[] = "runnel";
inline constexpr size_t kStampBytes = 34;

// Place of a record in the partition, from 0. The log's sequences are one more: 0 means "before the first" there.
using Offset = int64_t;

// Which record it is: offsets alone are used again when a log is made again or has lost its end.
struct RecordId {
  uint64_t seq = 0;         // offset + 1; 0 = before the first
  uint64_t leadership = 0;  // 0 = before the first
  auto operator<=>(const RecordId&) const = default;
};

struct Stamp {
  bool is_marker = false;
  Offset offset = 0;
  uint64_t leadership = 0;
  RecordId previous;
  bool operator==(const Stamp&) const = default;

  RecordId id() const { return RecordId{static_cast<uint64_t>(offset) + 1, leadership}; }
};

std::string EncodeStamp(const Stamp& stamp);

// nullopt: not a stamp of a version we know.
std::optional<Stamp> DecodeStamp(Bytes bytes);

}  // namespace runnel::bus::kafka
