#include "bus/file/appender.h"

#include <algorithm>

#include "bus/file/locator.h"
#include "bus/file/segment_scanner.h"
#include "ltx/base/check.h"

namespace runnel::bus::file {
namespace {

// Records are handed to the system in pieces of this size, so that a large group does not need a buffer of its own
// size.
constexpr size_t kWriteBytes = 4 << 20;

}  // namespace

Result<std::unique_ptr<Appender>> Appender::Open(const std::string& path, const Settings& settings) {
  LogDir dir(path);
  TRY_ASSIGN(LeaderFile leader, LeaderFile::Open(dir));
  return std::unique_ptr<Appender>(new Appender(std::move(dir), std::move(leader), settings));  // private constructor
}

WallTime Appender::Now() const {
  WallTime now = std::chrono::time_point_cast<std::chrono::microseconds>(std::chrono::system_clock::now());
  return std::max(now, last_stored_at_);
}

Status Appender::TakeLead(const TakeOverDecision& decision, std::stop_token stop) {
  TRY_ASSIGN(LeaderFile::Lock lock, leader_.Acquire(stop));
  TRY_ASSIGN(LeaderState state, leader_.Read());
  TRY(Repair(state));
  TRY_ASSIGN(std::optional<Message> tail, Tail(state));
  TRY_ASSIGN(std::optional<std::string> marker, decision(tail));
  if (marker) {
    if (marker->size() > kRecordPayloadBytesMax) return Error(Errc::kInvalid, "the take-over marker is too large");
    TRY(WriteRecords(state, std::span(&*marker, 1)));
  }
  // Everything before us is made durable too: it was shown as the tail, and our messages stand on it.
  TRY(Sync());
  // Only now: a refused or failed take-over leaves the leader in peace. Should we die right here, an earlier writer
  // finds that the log has grown and stops as well.
  state.fence += 1;
  fence_ = state.fence;
  return leader_.Write(state, false);
}

Status Appender::Repair(const LeaderState& state) {
  dir_.DeleteTemporaries();
  TRY_ASSIGN(std::vector<StreamSeq> segments, dir_.Segments());
  next_seq_ = state.first_seq;
  if (!segments.empty()) return RepairLastSegment(state, segments.back());
  if (state.first_seq != StreamSeq(1)) {
    return Error(Errc::kCorrupt, dir_.path() + ": its segments are gone; delete the directory and make the log again");
  }
  return NewSegment(state);
}

Status Appender::RepairLastSegment(const LeaderState& state, StreamSeq segment) {
  std::string path = dir_.SegmentPath(segment);
  TRY_ASSIGN(SegmentScanner scanner, SegmentScanner::Open(path, segment, state.incarnation));
  last_stored_at_ = scanner.header().created_at;
  bool damaged = false;
  while (true) {
    TRY_ASSIGN(ScanStep step, scanner.Pass());
    if (step.kind == ScanStep::Kind::kRecord) {
      last_stored_at_ = step.header.stored_at;
      continue;
    }
    if (step.kind != ScanStep::Kind::kBad) break;
    TRY_ASSIGN(std::optional<SegmentScanner::Place> behind, scanner.FindDamage());
    if (!behind) break;
    damaged = true;
    scanner.Seek(behind->offset, behind->seq);
  }
  next_seq_ = scanner.next_seq();
  TRY_ASSIGN(File file, File::OpenReadWrite(path));
  segment_ = std::make_shared<File>(std::move(file));
  segment_bytes_ = scanner.offset();
  synced_bytes_ = kSegmentHeaderBytes;
  TRY_ASSIGN(uint64_t file_bytes, segment_->Size());
  if (file_bytes > segment_bytes_) TRY(segment_->Truncate(segment_bytes_));  // a torn tail
  TRY(Sync());
  // Damage stays as it is, for people and for readers to see; new records go where nothing is wrong.
  return damaged ? NewSegment(state) : Ok();
}

Result<std::optional<Message>> Appender::Tail(const LeaderState& state) {
  Locator locator(dir_);
  TRY_ASSIGN(Locator::Tail tail, locator.FindTail(state));
  return std::move(tail.message);
}

Status Appender::CheckStillLeader(const LeaderState& state) const {
  if (state.fence != fence_) return Error(Errc::kConflict, dir_.path() + ": another writer has taken over the log");
  TRY_ASSIGN(uint64_t bytes, segment_->Size());
  if (bytes == segment_bytes_) return Ok();
  return Error(Errc::kConflict, dir_.path() + ": somebody else has written to the log");
}

Status Appender::Append(std::span<const std::string> payloads, std::stop_token stop) {
  TRY_ASSIGN(LeaderFile::Lock lock, leader_.Acquire(std::move(stop)));
  TRY_ASSIGN(LeaderState state, leader_.Read());
  TRY(CheckStillLeader(state));
  return WriteRecords(state, payloads);
}

Status Appender::WriteRecords(const LeaderState& state, std::span<const std::string> payloads) {
  size_t done = 0;
  while (done < payloads.size()) {
    if (segment_bytes_ >= settings_.segment_bytes) {
      TRY(NewSegment(state));
      if (settings_.retention.count() > 0) TRY(DropOldSegments(state));
    }
    buffer_.clear();
    WallTime now = Now();
    StreamSeq seq = next_seq_;
    while (done < payloads.size() && segment_bytes_ + buffer_.size() < settings_.segment_bytes &&
           buffer_.size() < kWriteBytes) {
      AppendRecord(buffer_, state.incarnation, seq, now, static_cast<uint32_t>(synced_bytes_), payloads[done]);
      seq = seq.Next();
      ++done;
    }
    TRY(segment_->WriteAt(segment_bytes_, AsBytes(buffer_)));
    segment_bytes_ += buffer_.size();
    next_seq_ = seq;
    last_stored_at_ = now;
  }
  return Ok();
}

Status Appender::NewSegment(const LeaderState& state) {
  // A torn tail can then only be in the last segment.
  if (segment_ != nullptr) TRY(Sync());
  TRY_ASSIGN(File file, dir_.CreateSegment({state.incarnation, next_seq_, Now()}, settings_.sync));
  segment_ = std::make_shared<File>(std::move(file));
  segment_bytes_ = kSegmentHeaderBytes;
  synced_bytes_ = kSegmentHeaderBytes;
  return Ok();
}

Status Appender::DropOldSegments(LeaderState state) {
  WallTime limit = Now() - settings_.retention;
  TRY_ASSIGN(std::vector<StreamSeq> segments, dir_.Segments());
  StreamSeq first_seq = state.first_seq;
  // All messages of a segment are older than the one that was created behind it.
  for (size_t i = 1; i < segments.size(); ++i) {
    TRY_ASSIGN(SegmentScanner scanner,
               SegmentScanner::Open(dir_.SegmentPath(segments[i]), segments[i], state.incarnation));
    if (scanner.header().created_at >= limit) break;
    first_seq = segments[i];
  }
  if (first_seq <= state.first_seq) return Ok();
  state.first_seq = first_seq;
  TRY(leader_.Write(state, settings_.sync));
  return dir_.DeleteSegmentsBefore(first_seq);
}

Status Appender::Sync() {
  if (settings_.sync) TRY(segment_->Sync());
  synced_bytes_ = segment_bytes_;
  return Ok();
}

void Appender::NoteSynced(const Extent& extent) {
  if (extent.file == segment_) synced_bytes_ = std::max(synced_bytes_, extent.bytes);
}

}  // namespace runnel::bus::file
