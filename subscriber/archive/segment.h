// Log segments: the verbatim LTX files of a stretch of the log in one object (bytes: SEGMENT.md).
//
//   header | block, block, ... | block index | footer
//   block = LTX files back to back | one record a file
//
// Written as a stream, no size known beforehand; read by range: the tail names the blocks, a block's end names its
// files, so a restore to TXID t fetches what leads to t and nothing else.
//
// Invariants, checked where a segment is written and where it is read:
//   I1  Max TXIDs rise from record to record, and none leaves a TXID out: min_txid <= the max before it + 1. (It is
//   less
//       where a publisher closed a gap by an LTX of all pages changed since an older TXID, or by a snapshot.)
//   I2  One lineage, one page size.
//   I3  The file checksum covers header, index and footer; the index holds the checksums of every block and of its
//       records: so it covers everything.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/checksum.h"
#include "ltx/format/decoder.h"
#include "ltx/format/encoder.h"
#include "ltx/format/index_reader.h"
#include "ltx/format/types.h"

namespace runnel::archive {

inline constexpr size_t kSegmentHeaderBytes = 16;
inline constexpr size_t kSegmentRecordBytes = 56;
inline constexpr size_t kSegmentIndexEntryBytes = 72;
inline constexpr size_t kSegmentFooterBytes = 96;
// A block is closed when its files reach this: what a restore reads too much at the most, once at each end.
inline constexpr uint64_t kSegmentBlockBytes = 256 << 10;
inline constexpr uint32_t kSegmentBlocksMax = 1u << 20;
inline constexpr uint32_t kSegmentBlockRecordsMax = 1u << 16;

// One LTX file of the log.
struct SegmentRecord {
  Txid min_txid;
  Txid max_txid;
  bus::Origin origin = bus::Origin::kCommit;
  bus::CaptureTime captured_at;
  Checksum checksum;   // of the database at max_txid: the LTX's post-apply checksum
  bus::StreamSeq seq;  // of the log message that ended it
  uint64_t ltx_bytes = 0;
  uint64_t ltx_offset = 0;  // in the segment; set by reader and writer
  bool operator==(const SegmentRecord&) const = default;
};

struct SegmentBlock {
  uint64_t offset = 0;
  uint64_t bytes = 0;  // files and records
  Txid min_txid;       // of its first record
  Txid max_txid;       // of its last record
  bus::CaptureTime first_captured_at;
  bus::CaptureTime last_captured_at;
  uint64_t records_checksum = 0;  // CRC-64 of the records
  uint64_t checksum = 0;          // CRC-64 of the whole block
  uint32_t record_count = 0;
  uint64_t RecordsOffset() const { return offset + bytes - uint64_t{record_count} * kSegmentRecordBytes; }
  bool operator==(const SegmentBlock&) const = default;
};

// What a footer says.
struct SegmentSummary {
  bus::Lineage lineage;
  PageSize page_size;
  Txid min_txid;
  Txid max_txid;
  Checksum checksum;  // of the database at max_txid
  uint64_t record_count = 0;
  uint32_t block_count = 0;
  uint64_t bytes = 0;          // of the segment
  uint64_t file_checksum = 0;  // CRC-64; named by the manifest too
  bool operator==(const SegmentSummary&) const = default;
};

// Writes one segment. Memory: one record of each file of the open block, and 72 bytes a block.
// REQUIRES: Begin; then AddFile, or WriteFile* and EndFile for a file that comes in pieces, or CopyBlock; then Finish.
// After an error it is dead. Owned by one thread.
// Errors of all: kInvalid for a broken rule, kExhausted (too many blocks); the sink's own.
class SegmentWriter {
 public:
  // The sink must outlive the writer.
  SegmentWriter(ltx::ByteSink& sink, bus::Lineage lineage, PageSize page_size);

  Status Begin();
  // ltx_bytes and ltx_offset are set by the writer.
  Status AddFile(SegmentRecord record, Bytes ltx);
  Status WriteFile(Bytes piece);
  Status EndFile(SegmentRecord record);
  // A whole block of another segment of the same lineage, as its index describes it. Errors also: kCorrupt when the
  // bytes are not that block; `last` is its last record.
  Status CopyBlock(const SegmentBlock& block, const SegmentRecord& last, ltx::ByteSource& source);
  Result<SegmentSummary> Finish();

  uint64_t bytes_written() const { return offset_; }
  Txid max_txid() const { return last_.max_txid; }

 private:
  Status CheckNext(Txid min_txid, Txid max_txid) const;
  Status CloseBlock();
  Status Write(Bytes bytes);
  Status Add(const SegmentBlock& block, const SegmentRecord& last);

  ltx::ByteSink& sink_;
  const bus::Lineage lineage_;
  const PageSize page_size_;
  ltx::Crc64 file_crc_;  // header, then index and footer
  ltx::Crc64 block_crc_;
  std::vector<SegmentRecord> records_;  // of the open block
  std::vector<SegmentBlock> blocks_;
  uint64_t offset_ = 0;
  uint64_t block_offset_ = 0;
  uint64_t file_offset_ = 0;  // of the file being written
  uint64_t record_count_ = 0;
  SegmentRecord last_;
  bool dead_ = false;
};

// Reads a segment by range. Owned by one thread. Memory: 72 bytes a block.
class SegmentReader {
 public:
  // Reads the tail by one read of at most 64 KiB, a second one if the index is longer, and the 16 bytes of the header
  // (none of its own when the tail reaches them). The source must outlive the reader.
  // Errors: kCorrupt, kUnsupported (a newer version); the source's own.
  static Result<SegmentReader> Open(ltx::RandomSource& source);

  const SegmentSummary& summary() const { return summary_; }
  const std::vector<SegmentBlock>& blocks() const { return blocks_; }

  // Index of the first block that holds a record with max_txid > `after`; blocks().size() if none does.
  size_t FirstBlockBehind(Txid after) const;

  // The records of a block, from its end: one read. Errors: kCorrupt.
  Result<std::vector<SegmentRecord>> ReadRecords(const SegmentBlock& block);
  // A whole block, verified. The bytes of a record's file are at ltx_offset - block.offset.
  // Errors: kCorrupt; kExhausted when the block is larger than `bytes_max` (read its files one by one).
  struct Block {
    std::vector<SegmentRecord> records;
    std::string bytes;
    Bytes File(const SegmentRecord& record, const SegmentBlock& block) const {
      return AsBytes(bytes).subspan(record.ltx_offset - block.offset, record.ltx_bytes);
    }
  };
  Result<Block> ReadBlock(const SegmentBlock& block, uint64_t bytes_max);

 private:
  explicit SegmentReader(ltx::RandomSource& source) : source_(&source) {}
  Status ReadTail();
  Status ParseIndex(Bytes index);
  Result<std::vector<SegmentRecord>> ParseRecords(const SegmentBlock& block, Bytes records) const;

  ltx::RandomSource* source_;
  SegmentSummary summary_;
  std::vector<SegmentBlock> blocks_;
};

// The file's bytes, alone. For tests and documents.
std::string EncodeSegmentRecord(const SegmentRecord& record);
std::string EncodeSegmentBlock(const SegmentBlock& block);

}  // namespace runnel::archive
