#include "bus/file/file_reader.h"

#include <algorithm>

namespace runnel::bus::file {

FileReader::FileReader(LogDir dir, Incarnation incarnation, const Start& start, std::unique_ptr<Wakeup> wakeup)
    : dir_(std::move(dir)),
      incarnation_(incarnation),
      start_(start),
      wakeup_(std::move(wakeup)),
      next_seq_(start.place.seq) {}

Error FileReader::Gap(const std::string& what) const {
  return Error(Errc::kGap, dir_.path() + ": message " + std::to_string(next_seq_.raw()) + " cannot be read: " + what);
}

Result<Message> FileReader::Next(SteadyTime deadline, std::stop_token stop) {
  while (true) {
    if (gap_) return *gap_;
    if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped while reading");
    Result<std::optional<Message>> message = TakeOne();
    if (!message.ok()) {
      if (message.code() == Errc::kGap) gap_ = message.error();
      return message.error();
    }
    if (message->has_value()) {
      bool wanted = (*message)->seq >= start_.seq_min && (*message)->stored_at >= start_.time_min;
      if (wanted) return **std::move(message);
      continue;
    }
    switch (wakeup_->Wait(deadline, stop)) {
      case Wakeup::Reason::kBytes: break;
      case Wakeup::Reason::kFiles:
      case Wakeup::Reason::kTick: look_around_ = true; break;
      case Wakeup::Reason::kDeadline: return Error(Errc::kTimeout, "no message before the deadline");
      case Wakeup::Reason::kStop: return Error(Errc::kCancelled, "stopped while reading");
    }
  }
}

Result<std::optional<Message>> FileReader::TakeOne() {
  while (true) {
    if (scanner_) {
      Result<ScanStep> step = scanner_->Next();
      if (!step.ok()) return step.error();
      if (step->kind == ScanStep::Kind::kRecord) {
        next_seq_ = scanner_->next_seq();
        judged_bytes_ = 0;
        return std::optional(Message{step->header.seq, step->header.stored_at, std::move(step->payload)});
      }
      if (step->kind == ScanStep::Kind::kBad) TRY(JudgeBadPlace(*step));
    }
    if (!look_around_) return std::optional<Message>();
    look_around_ = false;
    TRY_ASSIGN(bool moved_on, LookAround());
    if (!moved_on) return std::optional<Message>();
  }
}

Status FileReader::JudgeBadPlace(const ScanStep& step) {
  TRY_ASSIGN(uint64_t bytes, scanner_->FileBytesNow());
  if (bytes == judged_bytes_) return Ok();
  TRY_ASSIGN(std::optional<SegmentScanner::Place> behind, scanner_->FindDamage());
  if (!behind) {
    judged_bytes_ = bytes;
    look_around_ = true;  // if this is not the last segment, nobody will repair it
    return Ok();
  }
  // A writer that has just cut off a torn tail and is writing there can look like this for a moment; what is written
  // stays.
  TRY_ASSIGN(ScanStep again, scanner_->Pass());
  if (again.kind == ScanStep::Kind::kRecord) {
    scanner_->Seek(step.offset, next_seq_);
    return Ok();
  }
  return Gap(dir_.SegmentPath(scanner_->header().first_seq) + " is damaged at byte " + std::to_string(step.offset) +
             "; the next whole message is " + std::to_string(behind->seq.raw()));
}

Status FileReader::OpenSegment(StreamSeq segment) {
  TRY_ASSIGN(scanner_, SegmentScanner::Open(dir_.SegmentPath(segment), segment, incarnation_));
  judged_bytes_ = 0;
  look_around_ = true;  // the next one may be there already, and nobody will tell
  return Ok();
}

Result<bool> FileReader::LookAround() {
  Result<LeaderState> leader = dir_.ReadLeader();
  if (!leader.ok()) {
    if (leader.code() != Errc::kNotFound) return leader.error();
    return Error(Errc::kUnavailable, dir_.path() + ": the log was deleted");
  }
  if (leader->incarnation != incarnation_) return Gap("the log was deleted and made again");
  TRY_ASSIGN(std::vector<StreamSeq> segments, dir_.Segments());
  return scanner_ ? MoveOn(*leader, segments) : FindFirstSegment(*leader, segments);
}

Result<bool> FileReader::FindFirstSegment(const LeaderState& leader, const std::vector<StreamSeq>& segments) {
  StreamSeq wanted = start_.place.segment;
  uint64_t offset = start_.place.offset;
  if (wanted.raw() == 0) {
    // The log had none when we started.
    auto behind = std::ranges::upper_bound(segments, next_seq_);
    if (behind != segments.begin()) wanted = *(behind - 1);
    offset = kSegmentHeaderBytes;
  }
  if (wanted.raw() != 0) {
    Status opened = OpenSegment(wanted);
    if (opened.ok()) {
      scanner_->Seek(offset, next_seq_);
      return true;
    }
    return Gap(opened.error().message());
  }
  if (leader.first_seq > next_seq_) return Trimmed(leader);
  return false;
}

Result<bool> FileReader::MoveOn(const LeaderState& leader, const std::vector<StreamSeq>& segments) {
  auto next = std::ranges::upper_bound(segments, scanner_->header().first_seq);
  bool is_last = next == segments.end();
  if (!is_last && *next == next_seq_) {
    Status opened = OpenSegment(*next);
    if (opened.ok()) return true;
    if (opened.code() != Errc::kNotFound) return Gap(opened.error().message());
    look_around_ = true;  // trimmed since we listed: look again
    return true;
  }
  TRY_ASSIGN(uint64_t bytes, scanner_->FileBytesNow());
  bool shortened = bytes < scanner_->offset();
  bool trimmed = leader.first_seq > next_seq_;
  if (is_last && !shortened && !trimmed) return false;
  // Before it is called a gap: our segment may have grown between our last read and the look at the directory. It does
  // not grow any more once another one stands behind it.
  TRY_ASSIGN(ScanStep again, scanner_->Pass());
  if (again.kind == ScanStep::Kind::kRecord) {
    scanner_->Seek(again.offset, next_seq_);
    look_around_ = true;
    return true;
  }
  if (trimmed) return Trimmed(leader);
  if (shortened) return Gap("its segment became shorter than what was already read");
  return Gap("its segment ends before it, the next one starts at " + std::to_string(next->raw()));
}

Error FileReader::Trimmed(const LeaderState& leader) const {
  return Gap("it was trimmed; the log starts at " + std::to_string(leader.first_seq.raw()));
}

}  // namespace runnel::bus::file
