#include <algorithm>

#include "ltx/base/check.h"
#include "subscriber/archive/segment.h"
#include "subscriber/archive/segment_format.h"

namespace runnel::archive {
namespace {

constexpr uint64_t kTailBytesFirst = 64 << 10;
constexpr uint64_t kSegmentBytesMin =
    kSegmentHeaderBytes + ltx::kFileBytesMin + kSegmentRecordBytes + kSegmentIndexEntryBytes + kSegmentFooterBytes;

Error Corrupt(std::string what) { return Error(Errc::kCorrupt, "segment: " + std::move(what)); }

uint64_t Crc(Bytes bytes) {
  ltx::Crc64 crc;
  crc.Update(bytes);
  return crc.value();
}

}  // namespace

Result<SegmentReader> SegmentReader::Open(ltx::RandomSource& source) {
  SegmentReader reader(source);
  TRY(reader.ReadTail());
  return reader;
}

Status SegmentReader::ReadTail() {
  const uint64_t size = source_->size();
  if (size < kSegmentBytesMin) return Corrupt(std::to_string(size) + " bytes");
  std::vector<std::byte> tail(std::min(size, kTailBytesFirst));
  TRY(source_->ReadAt(size - tail.size(), tail));
  std::vector<std::byte> header(kSegmentHeaderBytes);
  if (tail.size() == size) {
    std::copy_n(tail.begin(), header.size(), header.begin());
  } else {
    TRY(source_->ReadAt(0, header));
  }
  TRY(CheckSegmentHeader(header));
  TRY_ASSIGN(SegmentFooter footer, DecodeSegmentFooter(Bytes(tail).last(kSegmentFooterBytes)));
  summary_ = footer.summary;
  summary_.bytes = size;
  const uint64_t index_bytes = uint64_t{summary_.block_count} * kSegmentIndexEntryBytes;
  if (footer.index_offset > size || size - footer.index_offset != index_bytes + kSegmentFooterBytes) {
    return Corrupt("an index of another size");
  }
  if (index_bytes + kSegmentFooterBytes > tail.size()) {
    tail.resize(index_bytes + kSegmentFooterBytes);
    TRY(source_->ReadAt(footer.index_offset, tail));
  }
  const Bytes end = Bytes(tail).last(index_bytes + kSegmentFooterBytes);
  ltx::Crc64 crc;
  crc.Update(header);
  crc.Update(end.first(end.size() - 8));
  if (crc.value() != summary_.file_checksum) return Corrupt("file checksum mismatch");
  return ParseIndex(end.first(index_bytes));
}

Status SegmentReader::ParseIndex(Bytes index) {
  blocks_.reserve(summary_.block_count);
  uint64_t offset = kSegmentHeaderBytes;
  uint64_t record_count = 0;
  Txid before;
  for (; !index.empty(); index = index.subspan(kSegmentIndexEntryBytes)) {
    TRY_ASSIGN(SegmentBlock block, DecodeSegmentBlock(index.first(kSegmentIndexEntryBytes)));
    if (block.offset != offset || block.bytes > summary_.bytes - offset) return Corrupt("blocks do not lie end to end");
    TRY(CheckFollows(before, block.min_txid, block.max_txid, Errc::kCorrupt));
    offset += block.bytes;
    before = block.max_txid;
    record_count += block.record_count;
    blocks_.push_back(block);
  }
  const uint64_t index_bytes = blocks_.size() * kSegmentIndexEntryBytes;
  if (offset + index_bytes + kSegmentFooterBytes != summary_.bytes) return Corrupt("blocks do not fill it");
  if (record_count != summary_.record_count || blocks_.front().min_txid != summary_.min_txid ||
      before != summary_.max_txid) {
    return Corrupt("footer and index do not agree");
  }
  return Ok();
}

size_t SegmentReader::FirstBlockBehind(Txid after) const {
  return static_cast<size_t>(std::ranges::upper_bound(blocks_, after, std::less<Txid>(), &SegmentBlock::max_txid) -
                             blocks_.begin());
}

Result<std::vector<SegmentRecord>> SegmentReader::ParseRecords(const SegmentBlock& block, Bytes bytes) const {
  std::vector<SegmentRecord> records;
  records.reserve(block.record_count);
  uint64_t offset = block.offset;
  Txid before;
  for (; !bytes.empty(); bytes = bytes.subspan(kSegmentRecordBytes)) {
    TRY_ASSIGN(SegmentRecord record, DecodeSegmentRecord(bytes.first(kSegmentRecordBytes)));
    TRY(CheckFollows(before, record.min_txid, record.max_txid, Errc::kCorrupt));
    if (record.ltx_bytes > block.RecordsOffset() - offset) return Corrupt("files larger than their block");
    record.ltx_offset = offset;
    offset += record.ltx_bytes;
    before = record.max_txid;
    records.push_back(record);
  }
  if (offset != block.RecordsOffset() || records.front().min_txid != block.min_txid || before != block.max_txid) {
    return Corrupt("the records of the block that ends with " + ToString(block.max_txid) +
                   " do not agree with the index");
  }
  return records;
}

Result<std::vector<SegmentRecord>> SegmentReader::ReadRecords(const SegmentBlock& block) {
  std::vector<std::byte> table(uint64_t{block.record_count} * kSegmentRecordBytes);
  TRY(source_->ReadAt(block.RecordsOffset(), table));
  if (Crc(table) != block.records_checksum) return Corrupt("damaged records before " + ToString(block.max_txid));
  return ParseRecords(block, table);
}

Result<SegmentReader::Block> SegmentReader::ReadBlock(const SegmentBlock& block, uint64_t bytes_max) {
  if (block.bytes > bytes_max)
    return Error(Errc::kExhausted, "segment: a block of " + std::to_string(block.bytes) + " bytes");
  Block whole;
  whole.bytes.resize(block.bytes);
  MutableBytes bytes(reinterpret_cast<std::byte*>(whole.bytes.data()), whole.bytes.size());
  TRY(source_->ReadAt(block.offset, bytes));
  if (Crc(bytes) != block.checksum) return Corrupt("damaged block before " + ToString(block.max_txid));
  const Bytes table = Bytes(bytes).last(uint64_t{block.record_count} * kSegmentRecordBytes);
  if (Crc(table) != block.records_checksum) return Corrupt("damaged records before " + ToString(block.max_txid));
  TRY_ASSIGN(whole.records, ParseRecords(block, table));
  return whole;
}

}  // namespace runnel::archive
