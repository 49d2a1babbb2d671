// What writer and reader of segments share: the bytes of SEGMENT.md. Private to them.
#pragma once

#include <string>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "subscriber/archive/segment.h"

namespace runnel::archive {

inline constexpr uint32_t kSegmentVersion = 1;

std::string EncodeSegmentHeader();
// Errors: kCorrupt, kUnsupported.
Status CheckSegmentHeader(Bytes bytes);

// All but the file checksum, which stands in the last 8 bytes.
std::string EncodeSegmentFooter(const SegmentSummary& summary, uint64_t index_offset);
struct SegmentFooter {
  SegmentSummary summary;  // without bytes
  uint64_t index_offset = 0;
};
Result<SegmentFooter> DecodeSegmentFooter(Bytes bytes);

// ltx_offset is not stored.
Result<SegmentRecord> DecodeSegmentRecord(Bytes bytes);
Result<SegmentBlock> DecodeSegmentBlock(Bytes bytes);

// I1 for the step from `before` (0: the first). Errors: `code`.
Status CheckFollows(Txid before, Txid min_txid, Txid max_txid, Errc code);

inline int64_t Micros(bus::CaptureTime time) { return time.time_since_epoch().count(); }
inline bus::CaptureTime FromMicros(uint64_t micros) {
  return bus::CaptureTime(std::chrono::microseconds(static_cast<int64_t>(micros)));
}

}  // namespace runnel::archive
