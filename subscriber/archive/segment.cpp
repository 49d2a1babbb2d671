#include "subscriber/archive/segment.h"

#include <algorithm>

#include "subscriber/archive/segment_format.h"

namespace runnel::archive {
namespace {

constexpr std::string_view kHeaderMagic = "RNLSEGM1";
constexpr std::string_view kFooterMagic = "RNLSEGF1";

Error Corrupt(std::string what) { return Error(Errc::kCorrupt, "segment: " + std::move(what)); }

}  // namespace

std::string EncodeSegmentHeader() {
  std::string out(kHeaderMagic);
  AppendBe32(out, kSegmentVersion);
  AppendBe32(out, 0);
  return out;
}

Status CheckSegmentHeader(Bytes bytes) {
  ByteReader reader(bytes);
  if (AsText(reader.Raw(kHeaderMagic.size())) != kHeaderMagic) return Corrupt("it does not begin as one");
  const uint32_t version = reader.Be32();
  if (version != kSegmentVersion) {
    return Error(Errc::kUnsupported, "segment: version " + std::to_string(version) + " is newer than this program");
  }
  if (reader.Be32() != 0 || reader.failed()) return Corrupt("a header that is not ours");
  return Ok();
}

std::string EncodeSegmentFooter(const SegmentSummary& summary, uint64_t index_offset) {
  std::string out(kFooterMagic);
  out.append(reinterpret_cast<const char*>(summary.lineage.bytes.data()), summary.lineage.bytes.size());
  AppendBe32(out, summary.page_size.raw());
  AppendBe32(out, summary.block_count);
  AppendBe64(out, summary.record_count);
  AppendBe64(out, summary.min_txid.raw());
  AppendBe64(out, summary.max_txid.raw());
  AppendBe64(out, summary.checksum.raw());
  AppendBe64(out, index_offset);
  out.append(kSegmentFooterBytes - 8 - out.size(), '\0');
  return out;
}

Result<SegmentFooter> DecodeSegmentFooter(Bytes bytes) {
  ByteReader reader(bytes);
  SegmentFooter footer;
  SegmentSummary& summary = footer.summary;
  if (AsText(reader.Raw(kFooterMagic.size())) != kFooterMagic) return Corrupt("it does not end as one");
  const Bytes lineage = reader.Raw(summary.lineage.bytes.size());
  const uint32_t page_size = reader.Be32();
  summary.block_count = reader.Be32();
  summary.record_count = reader.Be64();
  summary.min_txid = Txid(reader.Be64());
  summary.max_txid = Txid(reader.Be64());
  summary.checksum = Checksum(reader.Be64());
  footer.index_offset = reader.Be64();
  const Bytes zeros = reader.Raw(kSegmentFooterBytes - 80);
  summary.file_checksum = reader.Be64();
  if (reader.failed() || reader.remaining() != 0) return Corrupt("a footer of another size");
  std::ranges::transform(lineage, summary.lineage.bytes.begin(),
                         [](std::byte b) { return std::to_integer<uint8_t>(b); });
  const bool zero = std::ranges::all_of(zeros, [](std::byte b) { return b == std::byte{0}; });
  if (!zero || !PageSize::IsValid(page_size)) return Corrupt("a footer that is not ours");
  if (summary.block_count == 0 || summary.block_count > kSegmentBlocksMax) return Corrupt("an impossible block count");
  if (summary.record_count < summary.block_count) return Corrupt("fewer records than blocks");
  if (!summary.checksum.valid()) return Corrupt("no checksum");
  summary.page_size = PageSize(page_size);
  return footer;
}

std::string EncodeSegmentRecord(const SegmentRecord& record) {
  std::string out;
  AppendBe64(out, record.min_txid.raw());
  AppendBe64(out, record.max_txid.raw());
  AppendBe64(out, static_cast<uint64_t>(Micros(record.captured_at)));
  AppendBe64(out, record.checksum.raw());
  AppendBe64(out, record.ltx_bytes);
  AppendBe64(out, record.seq.raw());
  out.push_back(static_cast<char>(record.origin));
  out.append(kSegmentRecordBytes - out.size(), '\0');
  return out;
}

Result<SegmentRecord> DecodeSegmentRecord(Bytes bytes) {
  ByteReader reader(bytes);
  SegmentRecord record;
  record.min_txid = Txid(reader.Be64());
  record.max_txid = Txid(reader.Be64());
  record.captured_at = FromMicros(reader.Be64());
  record.checksum = Checksum(reader.Be64());
  record.ltx_bytes = reader.Be64();
  record.seq = bus::StreamSeq(reader.Be64());
  const uint64_t tail = reader.Be64();
  const uint64_t origin = tail >> 56;
  if (reader.failed() || reader.remaining() != 0) return Corrupt("a record of another size");
  if ((tail << 8) != 0 || origin > static_cast<uint64_t>(bus::Origin::kSnapshot)) return Corrupt("an unknown record");
  record.origin = static_cast<bus::Origin>(origin);
  if (!record.checksum.valid()) return Corrupt("a record without a checksum");
  if (record.ltx_bytes < ltx::kFileBytesMin) return Corrupt("a record of an LTX that is too short");
  return record;
}

std::string EncodeSegmentBlock(const SegmentBlock& block) {
  std::string out;
  AppendBe64(out, block.offset);
  AppendBe64(out, block.bytes);
  AppendBe64(out, block.min_txid.raw());
  AppendBe64(out, block.max_txid.raw());
  AppendBe64(out, static_cast<uint64_t>(Micros(block.first_captured_at)));
  AppendBe64(out, static_cast<uint64_t>(Micros(block.last_captured_at)));
  AppendBe64(out, block.records_checksum);
  AppendBe64(out, block.checksum);
  AppendBe32(out, block.record_count);
  AppendBe32(out, 0);
  return out;
}

Result<SegmentBlock> DecodeSegmentBlock(Bytes bytes) {
  ByteReader reader(bytes);
  SegmentBlock block;
  block.offset = reader.Be64();
  block.bytes = reader.Be64();
  block.min_txid = Txid(reader.Be64());
  block.max_txid = Txid(reader.Be64());
  block.first_captured_at = FromMicros(reader.Be64());
  block.last_captured_at = FromMicros(reader.Be64());
  block.records_checksum = reader.Be64();
  block.checksum = reader.Be64();
  block.record_count = reader.Be32();
  if (reader.Be32() != 0 || reader.failed() || reader.remaining() != 0)
    return Corrupt("an index entry that is not ours");
  if (block.record_count == 0 || block.record_count > kSegmentBlockRecordsMax)
    return Corrupt("an impossible record count");
  if (block.bytes < uint64_t{block.record_count} * (kSegmentRecordBytes + ltx::kFileBytesMin)) {
    return Corrupt("a block that is too short");
  }
  return block;
}

Status CheckFollows(Txid before, Txid min_txid, Txid max_txid, Errc code) {
  const std::string range = ToString(min_txid) + "-" + ToString(max_txid);
  if (min_txid == Txid() || min_txid > max_txid) return Error(code, "segment: no range of TXIDs: " + range);
  if (before == Txid()) return Ok();
  if (max_txid <= before || min_txid.Previous() > before) {
    return Error(code, "segment: " + range + " does not follow " + ToString(before));
  }
  return Ok();
}

}  // namespace runnel::archive
