#include "bus/kafka/stamp.h"

#include <limits>

namespace runnel::bus::kafka {
namespace {

constexpr uint8_t kVersion = 1;
constexpr uint8_t kMarkerFlag = 1;

}  // namespace

std::string EncodeStamp(const Stamp& stamp) {
  std::string out;
  out.push_back(static_cast<char>(kVersion));
  out.push_back(static_cast<char>(stamp.is_marker ? kMarkerFlag : 0));
  AppendBe64(out, static_cast<uint64_t>(stamp.offset));
  AppendBe64(out, stamp.leadership);
  AppendBe64(out, stamp.previous.seq);
  AppendBe64(out, stamp.previous.leadership);
  return out;
}

std::optional<Stamp> DecodeStamp(Bytes bytes) {
  ByteReader reader(bytes);
  if (bytes.size() != kStampBytes || reader.U8() != kVersion) return std::nullopt;
  const uint8_t flags = reader.U8();
  if ((flags & ~kMarkerFlag) != 0) return std::nullopt;
  const uint64_t offset = reader.Be64();
  if (offset > static_cast<uint64_t>(std::numeric_limits<Offset>::max())) return std::nullopt;
  Stamp stamp;
  stamp.is_marker = (flags & kMarkerFlag) != 0;
  stamp.offset = static_cast<Offset>(offset);
  stamp.leadership = reader.Be64();
  stamp.previous.seq = reader.Be64();
  stamp.previous.leadership = reader.Be64();
  // The record before lies in front of this one, and is named in full or not at all.
  const bool named = stamp.previous.seq != 0;
  if (stamp.leadership == 0 || named != (stamp.previous.leadership != 0) || stamp.previous.seq > offset)
    return std::nullopt;
  return stamp;
}

}  // namespace runnel::bus::kafka
