#include "bus/file/segment_scanner.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace runnel::bus::file {
namespace {

// Large enough that reading costs little per byte, small enough to stay in the processor's cache.
constexpr size_t kReadBytes = 256 << 10;
constexpr std::string_view kRecordMagicText = "RNLr";

}  // namespace

SegmentScanner::SegmentScanner(std::shared_ptr<const File> file, SegmentHeader header)
    : file_(std::move(file)), header_(header), next_seq_(header.first_seq) {}

Result<SegmentScanner> SegmentScanner::Open(const std::string& path, StreamSeq first_seq,
                                            const Incarnation& incarnation) {
  TRY_ASSIGN(File file, File::OpenRead(path));
  std::array<std::byte, kSegmentHeaderBytes> bytes{};
  TRY_ASSIGN(size_t size, file.ReadAt(0, bytes));
  Result<SegmentHeader> header = DecodeSegmentHeader(Bytes(bytes).first(size));
  if (!header.ok()) return header.error().With(path);
  if (header->incarnation != incarnation) return Error(Errc::kCorrupt, path + ": is a segment of another log");
  if (header->first_seq != first_seq) {
    return Error(Errc::kCorrupt, path + ": starts at sequence " + std::to_string(header->first_seq.raw()));
  }
  return SegmentScanner(std::make_shared<const File>(std::move(file)), *header);
}

Result<Bytes> SegmentScanner::Peek(size_t size) {
  uint64_t buffer_end = buffer_offset_ + buffer_bytes_;
  bool inside = offset_ >= buffer_offset_ && offset_ + size <= buffer_end;
  if (!inside) {
    // Keep what is left of the last read, so that each byte is read once.
    bool overlaps = offset_ >= buffer_offset_ && offset_ < buffer_end;
    size_t kept = overlaps ? static_cast<size_t>(buffer_end - offset_) : 0;
    size_t wanted = std::max(size, kept + kReadBytes);
    if (wanted > buffer_capacity_) {
      auto larger = std::make_unique_for_overwrite<std::byte[]>(wanted);
      if (kept > 0) std::memcpy(larger.get(), buffer_.get() + (buffer_bytes_ - kept), kept);
      buffer_ = std::move(larger);
      buffer_capacity_ = wanted;
    } else if (kept > 0) {
      std::memmove(buffer_.get(), buffer_.get() + (buffer_bytes_ - kept), kept);
    }
    buffer_offset_ = offset_;
    buffer_bytes_ = kept;
    TRY_ASSIGN(size_t got, file_->ReadAt(offset_ + kept, MutableBytes(buffer_.get() + kept, wanted - kept)));
    buffer_bytes_ += got;
  }
  size_t skip = static_cast<size_t>(offset_ - buffer_offset_);
  return Bytes(buffer_.get() + skip, buffer_bytes_ - skip);
}

Result<ScanStep> SegmentScanner::Next() {
  ScanStep step;
  step.offset = offset_;
  TRY_ASSIGN(Bytes bytes, Peek(kRecordHeaderBytes));
  if (bytes.size() < kRecordHeaderBytes) {
    step.kind = bytes.empty() ? ScanStep::Kind::kEnd : ScanStep::Kind::kPartial;
    buffer_bytes_ = 0;  // the next writer may cut the file here and write something else
    return step;
  }
  std::optional<RecordHeader> header = DecodeRecordHeader(bytes, header_.incarnation);
  if (!header || header->seq != next_seq_) {
    step.kind = ScanStep::Kind::kBad;
    buffer_bytes_ = 0;
    return step;
  }
  size_t total = static_cast<size_t>(header->total_bytes());
  TRY_ASSIGN(bytes, Peek(total));
  if (bytes.size() < total) {
    step.kind = ScanStep::Kind::kPartial;
    buffer_bytes_ = 0;
    return step;
  }
  Bytes payload = bytes.subspan(kRecordHeaderBytes, header->payload_bytes);
  if (Crc32c(payload) != header->payload_crc) {
    step.kind = ScanStep::Kind::kBad;
    buffer_bytes_ = 0;
    return step;
  }
  step.kind = ScanStep::Kind::kRecord;
  step.header = *header;
  step.payload = AsText(payload);
  offset_ += total;
  next_seq_ = next_seq_.Next();
  return step;
}

void SegmentScanner::Seek(uint64_t offset, StreamSeq seq) {
  offset_ = offset;
  next_seq_ = seq;
}

Result<std::optional<SegmentScanner::Place>> SegmentScanner::FindWhole(uint64_t offset, StreamSeq seq_min) {
  TRY_ASSIGN(uint64_t end, file_->Size());
  SegmentScanner probe(file_, header_);
  while (offset + kRecordHeaderBytes <= end) {
    probe.offset_ = offset;
    TRY_ASSIGN(Bytes bytes, probe.Peek(kRecordHeaderBytes));
    if (bytes.size() < kRecordHeaderBytes) break;  // cut meanwhile
    size_t at = AsText(bytes).find(kRecordMagicText);
    if (at == std::string_view::npos) {
      offset += bytes.size() - kRecordMagicText.size() + 1;
      continue;
    }
    offset += at;
    if (at + kRecordHeaderBytes > bytes.size()) continue;  // look again with the header whole, or end
    std::optional<RecordHeader> header = DecodeRecordHeader(bytes.subspan(at), header_.incarnation);
    if (header && header->seq >= seq_min) {
      probe.Seek(offset, header->seq);
      TRY_ASSIGN(ScanStep step, probe.Next());
      if (step.kind == ScanStep::Kind::kRecord) return std::optional<Place>(Place{offset, header->seq});
    }
    ++offset;
  }
  return std::optional<Place>();
}

Result<std::optional<SegmentScanner::Place>> SegmentScanner::FindDamage() {
  TRY_ASSIGN(std::optional<Place> first, FindWhole(offset_ + 1, next_seq_.Next()));
  std::optional<Place> place = first;
  // A later record that knew more than this place to be on disk proves that this place had been whole.
  while (place) {
    SegmentScanner probe(file_, header_);
    probe.Seek(place->offset, place->seq);
    Result<ScanStep> step = probe.Next();
    while (step.ok() && step->kind == ScanStep::Kind::kRecord) {
      if (step->header.synced_bytes > offset_) return first;
      step = probe.Next();
    }
    if (!step.ok()) return step.error();
    TRY_ASSIGN(place, FindWhole(probe.offset_ + 1, probe.next_seq_.Next()));
  }
  return std::optional<Place>();
}

}  // namespace runnel::bus::file
