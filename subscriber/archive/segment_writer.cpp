#include <algorithm>
#include <array>

#include "subscriber/archive/segment.h"
#include "subscriber/archive/segment_format.h"

namespace runnel::archive {
namespace {

constexpr size_t kCopyBytes = 64 << 10;

Error Invalid(std::string what) { return Error(Errc::kInvalid, "segment: " + std::move(what)); }

}  // namespace

SegmentWriter::SegmentWriter(ltx::ByteSink& sink, bus::Lineage lineage, PageSize page_size)
    : sink_(sink), lineage_(lineage), page_size_(page_size) {}

Status SegmentWriter::Write(Bytes bytes) {
  if (dead_) return Invalid("written to after an error");
  dead_ = true;
  TRY(sink_.Write(bytes));
  dead_ = false;
  offset_ += bytes.size();
  return Ok();
}

Status SegmentWriter::Begin() {
  if (offset_ != 0) return Invalid("begun twice");
  const std::string header = EncodeSegmentHeader();
  file_crc_.Update(AsBytes(header));
  TRY(Write(AsBytes(header)));
  block_offset_ = file_offset_ = offset_;
  return Ok();
}

Status SegmentWriter::WriteFile(Bytes piece) {
  if (offset_ == 0) return Invalid("not begun");
  block_crc_.Update(piece);
  return Write(piece);
}

Status SegmentWriter::EndFile(SegmentRecord record) {
  TRY(CheckFollows(last_.max_txid, record.min_txid, record.max_txid, Errc::kInvalid));
  record.ltx_offset = file_offset_;
  record.ltx_bytes = offset_ - file_offset_;
  if (record.ltx_bytes < ltx::kFileBytesMin) return Invalid("an LTX that is too short");
  if (!record.checksum.valid()) return Invalid("a record without a checksum");
  file_offset_ = offset_;
  last_ = record;
  ++record_count_;
  records_.push_back(record);
  const bool full = offset_ - block_offset_ >= kSegmentBlockBytes || records_.size() >= kSegmentBlockRecordsMax;
  return full ? CloseBlock() : Ok();
}

Status SegmentWriter::AddFile(SegmentRecord record, Bytes ltx) {
  TRY(WriteFile(ltx));
  return EndFile(record);
}

Status SegmentWriter::CloseBlock() {
  if (records_.empty()) return Ok();
  SegmentBlock block;
  block.offset = block_offset_;
  block.min_txid = records_.front().min_txid;
  block.max_txid = records_.back().max_txid;
  block.first_captured_at = records_.front().captured_at;
  block.last_captured_at = records_.back().captured_at;
  block.record_count = static_cast<uint32_t>(records_.size());
  std::string table;
  table.reserve(records_.size() * kSegmentRecordBytes);
  for (const SegmentRecord& record : records_) table += EncodeSegmentRecord(record);
  ltx::Crc64 crc;
  crc.Update(AsBytes(table));
  block.records_checksum = crc.value();
  TRY(WriteFile(AsBytes(table)));
  block.bytes = offset_ - block_offset_;
  block.checksum = block_crc_.value();
  records_.clear();
  return Add(block, last_);
}

Status SegmentWriter::Add(const SegmentBlock& block, const SegmentRecord& last) {
  if (blocks_.size() >= kSegmentBlocksMax) return Error(Errc::kExhausted, "segment: too many blocks");
  blocks_.push_back(block);
  last_ = last;
  block_offset_ = file_offset_ = offset_;
  block_crc_ = ltx::Crc64();
  return Ok();
}

Status SegmentWriter::CopyBlock(const SegmentBlock& block, const SegmentRecord& last, ltx::ByteSource& source) {
  if (offset_ == 0 || file_offset_ != offset_) return Invalid("a block in the middle of a file");
  TRY(CloseBlock());
  TRY(CheckFollows(last_.max_txid, block.min_txid, block.max_txid, Errc::kInvalid));
  if (last.max_txid != block.max_txid) return Invalid("another block's last record");
  std::array<std::byte, kCopyBytes> buffer;
  uint64_t left = block.bytes;
  while (left > 0) {
    TRY_ASSIGN(size_t got, source.Read(MutableBytes(buffer).first(std::min<uint64_t>(left, buffer.size()))));
    if (got == 0) break;
    TRY(WriteFile(Bytes(buffer).first(got)));
    left -= got;
  }
  if (left != 0 || block_crc_.value() != block.checksum) {
    dead_ = true;
    return Error(Errc::kCorrupt, "segment: the block that ends with " + ToString(block.max_txid) + " is damaged");
  }
  SegmentBlock copy = block;
  copy.offset = block_offset_;
  record_count_ += block.record_count;
  return Add(copy, last);
}

Result<SegmentSummary> SegmentWriter::Finish() {
  if (file_offset_ != offset_) return Invalid("ends inside of a file");
  TRY(CloseBlock());
  if (blocks_.empty()) return Invalid("without records");
  SegmentSummary summary;
  summary.lineage = lineage_;
  summary.page_size = page_size_;
  summary.min_txid = blocks_.front().min_txid;
  summary.max_txid = last_.max_txid;
  summary.checksum = last_.checksum;
  summary.record_count = record_count_;
  summary.block_count = static_cast<uint32_t>(blocks_.size());
  const uint64_t index_offset = offset_;
  std::string tail;
  tail.reserve(blocks_.size() * kSegmentIndexEntryBytes + kSegmentFooterBytes);
  for (const SegmentBlock& block : blocks_) tail += EncodeSegmentBlock(block);
  tail += EncodeSegmentFooter(summary, index_offset);
  file_crc_.Update(AsBytes(tail));
  summary.file_checksum = file_crc_.value();
  AppendBe64(tail, summary.file_checksum);
  TRY(Write(AsBytes(tail)));
  dead_ = true;
  summary.bytes = offset_;
  return summary;
}

}  // namespace runnel::archive
