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
// Record header "runnel", text, so that any tool can show it (fixed: logs hold it; bus/ENVELOPE.md has it for others):
//
//   1 KIND OFFSET LEADERSHIP PREVIOUS-OFFSET PREVIOUS-LEADERSHIP
//   1 d 42 1112131415161718 41 2122232425262728
//
//   1            version
//   KIND         m = marker of a takeover, d = any other record
//   OFFSET       this record is meant for
//   LEADERSHIP   random number of the takeover, never 0, 16 hex digits
//   PREVIOUS-*   the valid record before this one; "- -" = none
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace runnel::bus::kafka {

inline constexpr char kStampHeader[] = "runnel";
// "1 d ", two offsets of at most 19 digits, two leaderships, three blanks.
inline constexpr size_t kStampBytesMax = 4 + 19 + 1 + 16 + 1 + 19 + 1 + 16;

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

// nullopt: not a stamp of a version we know, or not in its one form.
std::optional<Stamp> DecodeStamp(std::string_view text);

}  // namespace runnel::bus::kafka
