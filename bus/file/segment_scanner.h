// Reads the records of one segment file in order, while a writer may be appending to it. Takes no lock.
//
// What stands behind the last whole record is one of four things, and telling them apart is the point of this class:
//   kEnd      nothing yet
//   kPartial  a record that is still being written, or whose writer died: a torn tail
//   kBad      bytes that are no record. At the end of a log they may also be a torn tail (after a power failure the
//   file's size
//             may be on disk before its bytes); FindDamage decides that
//   damage    bytes that had been on disk safely and are not what they were
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "bus/bus.h"
#include "bus/file/segment.h"
#include "ltx/base/fs.h"
#include "ltx/base/result.h"

namespace runnel::bus::file {

struct ScanStep {
  enum class Kind { kRecord, kEnd, kPartial, kBad };
  Kind kind = Kind::kEnd;
  uint64_t offset = 0;  // where it stands
  RecordHeader header;  // kRecord
  std::string payload;  // kRecord, of Next
};

// One thread.
class SegmentScanner {
 public:
  // Errors: kNotFound; kCorrupt (the header is not one of this log, or not of this sequence).
  static Result<SegmentScanner> Open(const std::string& path, StreamSeq first_seq, const Incarnation& incarnation);

  const SegmentHeader& header() const { return header_; }
  uint64_t offset() const { return offset_; }
  StreamSeq next_seq() const { return next_seq_; }

  // The record at offset(); passes it if it is whole. Any other outcome leaves the place, to be looked at again later.
  Result<ScanStep> Next() { return Step(true); }
  // As Next, for whom the payload is nothing: it is proven, but not kept.
  Result<ScanStep> Pass() { return Step(false); }

  // Goes to a place where a record starts, or will start.
  void Seek(uint64_t offset, StreamSeq seq);

  // Behind a kBad or kPartial step: the first whole record behind the place, if what is there is damage; nullopt if it
  // may be a torn tail. Reads the rest of the segment.
  struct Place {
    uint64_t offset = 0;
    StreamSeq seq;
  };
  Result<std::optional<Place>> FindDamage();

  Result<uint64_t> FileBytesNow() const { return file_->Size(); }

 private:
  SegmentScanner(std::shared_ptr<const File> file, SegmentHeader header);
  Result<ScanStep> Step(bool keep);
  // False: the file ends before the payload does.
  Result<bool> ReadPayload(const RecordHeader& header, bool keep, uint32_t& crc, std::string& payload);
  // The bytes at `offset`, at least `size` unless the file ends before. REQUIRES: size <= kReadBytes.
  Result<Bytes> Peek(uint64_t offset, size_t size);
  // The first whole record at or behind `offset`, of a sequence of at least `seq_min`.
  Result<std::optional<Place>> FindWhole(uint64_t offset, StreamSeq seq_min);

  std::shared_ptr<const File> file_;  // shared with the probes that look behind a bad place
  SegmentHeader header_;
  uint64_t offset_ = kSegmentHeaderBytes;
  StreamSeq next_seq_;
  // Bytes of the file from buffer_offset_. Not a string: clearing memory before each read would cost more than the
  // read.
  std::unique_ptr<std::byte[]> buffer_;
  size_t buffer_bytes_ = 0;
  uint64_t buffer_offset_ = 0;
};

}  // namespace runnel::bus::file
