#include "bus/file/segment.h"

#include <isa-l.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "ltx/base/check.h"

namespace runnel::bus::file {
namespace {

constexpr std::string_view kSegmentMagic = "RNLSEG01";
constexpr uint32_t kRecordMagic = 0x524e4c72;  // "RNLr"
constexpr size_t kSegmentChecked = 12;         // the segment header's CRC covers what follows it
constexpr size_t kRecordChecked = 8;

WallTime FromMicros(uint64_t micros) { return WallTime(std::chrono::microseconds(static_cast<int64_t>(micros))); }
uint64_t ToMicros(WallTime time) { return static_cast<uint64_t>(time.time_since_epoch().count()); }

}  // namespace

Incarnation Incarnation::Random() {
  Incarnation incarnation;
  size_t filled = 0;
  while (filled < incarnation.bytes.size()) {
    ssize_t got = ::getrandom(incarnation.bytes.data() + filled, incarnation.bytes.size() - filled, 0);
    CHECK(got > 0 || errno == EINTR, "getrandom");
    if (got > 0) filled += static_cast<size_t>(got);
  }
  return incarnation;
}

std::string ToString(const Incarnation& incarnation) { return ToHex(incarnation.bytes); }

uint32_t Crc32c(Bytes bytes, uint32_t crc) {
  // The library takes int lengths and an inverted state.
  constexpr size_t kStep = size_t{1} << 30;
  crc = ~crc;
  while (!bytes.empty()) {
    size_t size = std::min(bytes.size(), kStep);
    // NOLINTNEXTLINE: the C signature lacks const; the library only reads.
    auto* data = const_cast<unsigned char*>(reinterpret_cast<const unsigned char*>(bytes.data()));
    crc = crc32_iscsi(data, static_cast<int>(size), crc);
    bytes = bytes.subspan(size);
  }
  return ~crc;
}

std::string EncodeSegmentHeader(const SegmentHeader& header) {
  std::string body;
  AppendBe32(body, kSegmentVersion);
  body.append(AsText(header.incarnation.bytes));
  AppendBe64(body, header.first_seq.raw());
  AppendBe64(body, ToMicros(header.created_at));
  body.resize(kSegmentHeaderBytes - kSegmentChecked, '\0');
  std::string out(kSegmentMagic);
  AppendBe32(out, Crc32c(AsBytes(body)));
  return out + body;
}

Result<SegmentHeader> DecodeSegmentHeader(Bytes bytes) {
  ByteReader reader(bytes);
  std::string_view magic = AsText(reader.Raw(kSegmentMagic.size()));
  uint32_t crc = reader.Be32();
  uint32_t version = reader.Be32();
  SegmentHeader header;
  Bytes incarnation = reader.Raw(header.incarnation.bytes.size());
  header.first_seq = StreamSeq(reader.Be64());
  header.created_at = FromMicros(reader.Be64());
  if (reader.failed() || bytes.size() < kSegmentHeaderBytes || magic != kSegmentMagic) {
    return Error(Errc::kCorrupt, "no segment header");
  }
  if (Crc32c(bytes.subspan(kSegmentChecked, kSegmentHeaderBytes - kSegmentChecked)) != crc) {
    return Error(Errc::kCorrupt, "segment header with a wrong checksum");
  }
  if (version != kSegmentVersion) {
    return Error(Errc::kUnsupported, "segment of format version " + std::to_string(version) + "; upgrade this program");
  }
  std::ranges::copy(incarnation, header.incarnation.bytes.begin());
  return header;
}

Status CheckPayloadSize(std::string_view payload) {
  if (payload.size() <= kRecordPayloadBytesMax) return Ok();
  return Error(Errc::kInvalid, "payload of " + std::to_string(payload.size()) + " bytes, at most " +
                                   std::to_string(kRecordPayloadBytesMax) + " fit");
}

void AppendRecord(std::string& out, const Incarnation& incarnation, StreamSeq seq, WallTime stored_at,
                  uint32_t synced_bytes, std::string_view payload) {
  CHECK(payload.size() <= kRecordPayloadBytesMax, "payload too large for a record");
  size_t start = out.size();
  AppendBe32(out, kRecordMagic);
  AppendBe32(out, 0);
  AppendBe64(out, seq.raw());
  AppendBe64(out, ToMicros(stored_at));
  AppendBe32(out, static_cast<uint32_t>(payload.size()));
  AppendBe32(out, Crc32c(AsBytes(payload)));
  AppendBe32(out, synced_bytes);
  Bytes checked = AsBytes(out).subspan(start + kRecordChecked);
  StoreBe32(reinterpret_cast<std::byte*>(out.data()) + start + 4, Crc32c(checked, Crc32c(incarnation.bytes)));
  out.append(payload);
}

std::optional<RecordHeader> DecodeRecordHeader(Bytes bytes, const Incarnation& incarnation) {
  ByteReader reader(bytes.first(kRecordHeaderBytes));
  uint32_t magic = reader.Be32();
  uint32_t crc = reader.Be32();
  RecordHeader header;
  header.seq = StreamSeq(reader.Be64());
  header.stored_at = FromMicros(reader.Be64());
  header.payload_bytes = reader.Be32();
  header.payload_crc = reader.Be32();
  header.synced_bytes = reader.Be32();
  if (magic != kRecordMagic || header.payload_bytes > kRecordPayloadBytesMax) return std::nullopt;
  Bytes checked = bytes.first(kRecordHeaderBytes).subspan(kRecordChecked);
  if (Crc32c(checked, Crc32c(incarnation.bytes)) != crc) return std::nullopt;
  return header;
}

}  // namespace runnel::bus::file
