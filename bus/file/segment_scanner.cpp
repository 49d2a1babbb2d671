#include "bus/file/segment_scanner.h"

#include <algorithm>
#include <array>
#include <cstring>

namespace runnel::bus::file {
namespace {

// Large enough that reading costs little per byte, small enough to leave room in the processor's cache.
constexpr size_t kReadBytes = 64 << 10;
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

Result<Bytes> SegmentScanner::Peek(uint64_t offset, size_t size) {
  const uint64_t buffer_end = buffer_offset_ + buffer_bytes_;
  const bool inside = offset >= buffer_offset_ && offset + size <= buffer_end;
  if (!inside) {
    if (buffer_ == nullptr) buffer_ = std::make_unique_for_overwrite<std::byte[]>(kReadBytes);
    // Keep what is left of the last read, so that each byte is read once.
    const bool overlaps = offset >= buffer_offset_ && offset < buffer_end;
    const size_t kept = overlaps ? static_cast<size_t>(buffer_end - offset) : 0;
    if (kept > 0) std::memmove(buffer_.get(), buffer_.get() + (buffer_bytes_ - kept), kept);
    buffer_offset_ = offset;
    buffer_bytes_ = kept;
    TRY_ASSIGN(size_t got, file_->ReadAt(offset + kept, MutableBytes(buffer_.get() + kept, kReadBytes - kept)));
    buffer_bytes_ += got;
  }
  const size_t skip = static_cast<size_t>(offset - buffer_offset_);
  return Bytes(buffer_.get() + skip, buffer_bytes_ - skip);
}

// Piece by piece: a large record costs no buffer of its size.
Result<bool> SegmentScanner::ReadPayload(const RecordHeader& header, bool keep, uint32_t& crc, std::string& payload) {
  crc = 0;
  uint64_t offset = offset_ + kRecordHeaderBytes;
  for (size_t left = header.payload_bytes; left > 0;) {
    TRY_ASSIGN(Bytes piece, Peek(offset, 1));
    if (piece.empty()) return false;
    piece = piece.first(std::min(piece.size(), left));
    if (keep && payload.empty()) payload.reserve(left);
    if (keep) payload.append(AsText(piece));
    crc = Crc32c(piece, crc);
    offset += piece.size();
    left -= piece.size();
  }
  return true;
}

Result<ScanStep> SegmentScanner::Step(bool keep) {
  ScanStep step;
  step.offset = offset_;
  auto stays = [this, &step](ScanStep::Kind kind) {
    step.kind = kind;
    step.payload.clear();
    buffer_bytes_ = 0;  // the next writer may cut the file here and write something else
    return std::move(step);
  };
  TRY_ASSIGN(Bytes bytes, Peek(offset_, kRecordHeaderBytes));
  if (bytes.size() < kRecordHeaderBytes) {
    return stays(bytes.empty() ? ScanStep::Kind::kEnd : ScanStep::Kind::kPartial);
  }
  std::optional<RecordHeader> header = DecodeRecordHeader(bytes, header_.incarnation);
  if (!header || header->seq != next_seq_) return stays(ScanStep::Kind::kBad);
  uint32_t crc = 0;
  TRY_ASSIGN(const bool whole, ReadPayload(*header, keep, crc, step.payload));
  if (!whole) return stays(ScanStep::Kind::kPartial);
  if (crc != header->payload_crc) return stays(ScanStep::Kind::kBad);
  step.kind = ScanStep::Kind::kRecord;
  step.header = *header;
  offset_ += header->total_bytes();
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
    TRY_ASSIGN(Bytes bytes, probe.Peek(offset, kRecordHeaderBytes));
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
      TRY_ASSIGN(ScanStep step, probe.Pass());
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
    Result<ScanStep> step = probe.Pass();
    while (step.ok() && step->kind == ScanStep::Kind::kRecord) {
      if (step->header.synced_bytes > offset_) return first;
      step = probe.Pass();
    }
    if (!step.ok()) return step.error();
    TRY_ASSIGN(place, FindWhole(probe.offset_ + 1, probe.next_seq_.Next()));
  }
  return std::optional<Place>();
}

}  // namespace runnel::bus::file
