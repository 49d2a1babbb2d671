#include "bus/file/locator.h"

#include <algorithm>

namespace runnel::bus::file {
namespace {

// Distance of remembered points: a scan between two of them takes less than a millisecond.
constexpr uint64_t kPointBytes = 1 << 20;
constexpr WallTime kAnyTime = WallTime::min();

}  // namespace

Result<ScanStep> Locator::NextWhole(SegmentScanner& scanner) {
  TRY_ASSIGN(ScanStep step, scanner.Pass());
  if (step.kind != ScanStep::Kind::kBad) return step;
  TRY_ASSIGN(std::optional<SegmentScanner::Place> behind, scanner.FindDamage());
  if (!behind) return step;
  scanner.Seek(behind->offset, behind->seq);
  return scanner.Pass();
}

Result<SegmentScanner> Locator::OpenScanner(const LeaderState& leader, StreamSeq segment) {
  return SegmentScanner::Open(dir_.SegmentPath(segment), segment, leader.incarnation);
}

Locator::Point Locator::PointBefore(const LeaderState& leader, StreamSeq segment, const Wanted& wanted) {
  MutexLock lock(mutex_);
  if (incarnation_ != leader.incarnation) {
    points_.clear();
    incarnation_ = leader.incarnation;
  }
  Point best{kSegmentHeaderBytes, segment, kAnyTime};
  for (const Point& point : points_[segment]) {
    // The wanted record must not stand before the point.
    bool usable = point.seq <= wanted.seq || point.stored_at < wanted.time;
    if (!usable) break;
    best = point;
  }
  return best;
}

void Locator::Remember(StreamSeq segment, const ScanStep& step) {
  MutexLock lock(mutex_);
  std::vector<Point>& points = points_[segment];
  uint64_t last = points.empty() ? kSegmentHeaderBytes : points.back().offset;
  if (step.offset < last + kPointBytes) return;
  points.push_back({step.offset, step.header.seq, step.header.stored_at});
}

Result<size_t> Locator::FirstSegment(const LeaderState& leader, const std::vector<StreamSeq>& segments,
                                     const Wanted& wanted) {
  auto behind = std::ranges::upper_bound(segments, wanted.seq);
  size_t index = behind == segments.begin() ? 0 : static_cast<size_t>(behind - segments.begin()) - 1;
  if (wanted.time == kAnyTime) return index;
  // A segment is created no earlier than the last record before it was stored.
  for (size_t i = segments.size(); i-- > index + 1;) {
    TRY_ASSIGN(SegmentScanner scanner, OpenScanner(leader, segments[i]));
    if (scanner.header().created_at < wanted.time) return i;
  }
  return index;
}

Result<Found> Locator::FindFrom(const LeaderState& leader, const std::vector<StreamSeq>& segments, size_t index,
                                const Wanted& wanted) {
  Found found;
  for (; index < segments.size(); ++index) {
    StreamSeq segment = segments[index];
    TRY_ASSIGN(SegmentScanner scanner, OpenScanner(leader, segment));
    Point point = PointBefore(leader, segment, wanted);
    scanner.Seek(point.offset, point.seq);
    while (true) {
      TRY_ASSIGN(ScanStep step, NextWhole(scanner));
      if (step.kind != ScanStep::Kind::kRecord) break;
      Remember(segment, step);
      if (!wanted.Takes(step.header)) continue;
      scanner.Seek(step.offset, step.header.seq);
      TRY_ASSIGN(step, scanner.Next());
      if (step.kind != ScanStep::Kind::kRecord) break;
      return Found{{segment, step.offset, step.header.seq},
                   Message{step.header.seq, step.header.stored_at, std::move(step.payload)}};
    }
    found.place = {segment, scanner.offset(), scanner.next_seq()};
  }
  return found;
}

Result<Found> Locator::Find(const LeaderState& leader, const Wanted& wanted) {
  // Segments may be deleted between listing and opening; then what they held is before the log's start.
  constexpr int kAttempts = 5;
  for (int attempt = 1;; ++attempt) {
    TRY_ASSIGN(std::vector<StreamSeq> segments, dir_.Segments());
    if (segments.empty()) return Found{{StreamSeq(0), kSegmentHeaderBytes, leader.first_seq}, std::nullopt};
    Result<size_t> index = FirstSegment(leader, segments, wanted);
    Result<Found> found = index.ok() ? FindFrom(leader, segments, *index, wanted) : index.error();
    bool vanished = !found.ok() && found.code() == Errc::kNotFound;
    if (!vanished || attempt == kAttempts) return found;
  }
}

Result<Found> Locator::FindSequence(const LeaderState& leader, StreamSeq seq) {
  return Find(leader, {std::max(seq, leader.first_seq), kAnyTime});
}

Result<Found> Locator::FindTime(const LeaderState& leader, WallTime time) {
  return Find(leader, {leader.first_seq, time});
}

Result<Locator::Tail> Locator::FindTail(const LeaderState& leader) {
  constexpr StreamSeq kNone(UINT64_MAX);
  TRY_ASSIGN(Found end, Find(leader, {kNone, kAnyTime}));
  Tail tail{end.place, std::nullopt};
  if (end.place.segment.raw() == 0 || end.place.seq <= leader.first_seq) return tail;
  // The last whole record is the one before the end, or further back if that one is damaged.
  for (StreamSeq seq = StreamSeq(end.place.seq.raw() - 1);; seq = StreamSeq(seq.raw() - 1)) {
    TRY_ASSIGN(Found found, FindSequence(leader, seq));
    if (found.message) {
      tail.message = std::move(found.message);
      return tail;
    }
    if (seq <= leader.first_seq) return tail;
  }
}

}  // namespace runnel::bus::file
