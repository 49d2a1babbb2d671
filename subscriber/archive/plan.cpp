#include "subscriber/archive/plan.h"

#include <algorithm>

namespace runnel::archive {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::milliseconds;

constexpr uint64_t kMergeMemoryBytes = 40 << 20;
constexpr uint64_t kInputBytes = 96 << 10;  // beside pages: what an object source holds
constexpr uint32_t kSegmentInputsMax = 1024;
constexpr uint64_t kSegmentBytesMax = 1 << 30;
constexpr microseconds kSegmentWindow = hours(1);
constexpr size_t kDeletesMax = 256;

int64_t WindowOf(CaptureTime time, microseconds interval) { return time.time_since_epoch() / interval; }

// The window has ended. A moment far in the future (clocks differ) does not wait for its end.
bool Ended(CaptureTime time, microseconds interval, CaptureTime now) {
  return time > now + interval || WindowOf(time, interval) < WindowOf(now, interval);
}

bool Follows(const ArchivedObject& before, const ArchivedObject& next) {
  return next.name.min_txid.Previous() <= before.name.max_txid && next.name.max_txid > before.name.max_txid;
}

ObjectName NameOf(Job::Kind kind, uint8_t level, const std::vector<ArchivedObject>& inputs) {
  ObjectName name;
  name.kind = kind == Job::Kind::kSegments ? ObjectKind::kSegment : ObjectKind::kLevel;
  name.level = level;
  name.min_txid = inputs.front().name.min_txid;
  name.max_txid = inputs.back().name.max_txid;
  return name;
}

// How long a superseded object stays: a level until the one above it is merged in its turn, all else longer than a
// restore needs between reading the manifest and opening its objects.
milliseconds GraceOf(const ObjectName& name, const ArchiveConfig& config) {
  if (name.kind == ObjectKind::kSegment || name.level >= kLevelMax) return 2 * config.level_intervals[1];
  return name.level + 1 < kLevelMax ? config.level_intervals[name.level + 1] : config.snapshot_interval;
}

}  // namespace

uint32_t InputsMax(PageSize page_size) {
  return static_cast<uint32_t>(std::clamp<uint64_t>(kMergeMemoryBytes / (kInputBytes + 3 * page_size.raw()), 16, 256));
}

std::optional<Job> PlanLevel(const Manifest& manifest, const ArchiveConfig& config, uint8_t level, CaptureTime now) {
  const std::vector<ArchivedObject> done = manifest.Live(ObjectKind::kLevel, level);
  const Txid end = done.empty() ? Txid() : done.back().name.max_txid;
  const uint32_t inputs_max = InputsMax(manifest.page_size);
  const microseconds interval = config.level_intervals[level - 1];
  Job job;
  size_t ended = 0;
  for (const ArchivedObject& object : manifest.Live(ObjectKind::kLevel, level - 1)) {
    if (object.name.max_txid <= end) continue;
    if (!job.inputs.empty() && !Follows(job.inputs.back(), object)) break;  // a hole, or a snapshot over it
    if (job.inputs.size() == inputs_max) break;
    if (ended == job.inputs.size() && Ended(object.captured_at, interval, now)) ++ended;
    job.inputs.push_back(object);
  }
  if (job.inputs.size() < inputs_max) job.inputs.resize(ended);
  if (job.inputs.empty()) return std::nullopt;
  job.output = NameOf(job.kind, level, job.inputs);
  job.reason = "level " + std::to_string(level) + " is due";
  return job;
}

Result<std::vector<ArchivedObject>> PlanChain(const Manifest& manifest, Txid from, Txid to) {
  std::vector<ArchivedObject> levels[kLevelMax + 1];
  for (uint8_t level = 0; level <= kLevelMax; ++level) levels[level] = manifest.Live(ObjectKind::kLevel, level);
  std::vector<ArchivedObject> chain;
  for (Txid at = from; at < to;) {
    const ArchivedObject* best = nullptr;
    for (int level = kLevelMax; level >= 0; --level) {
      for (const ArchivedObject& object : levels[level]) {
        const bool fits =
            object.name.min_txid.Previous() <= at && object.name.max_txid > at && object.name.max_txid <= to;
        if (fits && (best == nullptr || object.name.max_txid > best->name.max_txid)) best = &object;
      }
    }
    if (best == nullptr) {
      return Error(Errc::kGap, "nothing in the archive leads on from TXID " + ToString(at) + " to " + ToString(to));
    }
    chain.push_back(*best);
    at = best->name.max_txid;
  }
  return chain;
}

std::optional<Job> PlanSnapshot(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now, bool asked) {
  const std::vector<ArchivedObject> snapshots = manifest.Live(ObjectKind::kLevel, kSnapshotLevel);
  if (snapshots.empty()) return std::nullopt;
  const ArchivedObject& newest = snapshots.back();
  if (newest.name.max_txid >= manifest.position.txid) return std::nullopt;
  Job job;
  job.kind = Job::Kind::kSnapshot;
  if (asked) {
    job.reason = "asked for";
  } else if (manifest.unproven_txid > newest.name.max_txid) {
    job.reason = "to prove an LTX that overlaps the one before it";
  } else if (Ended(newest.captured_at, config.snapshot_interval, now)) {
    job.reason = "due";
  } else {
    return std::nullopt;
  }
  Result<std::vector<ArchivedObject>> chain = PlanChain(manifest, newest.name.max_txid, manifest.position.txid);
  if (!chain.ok()) return std::nullopt;  // behind a hole, which the log's next snapshot ends
  if (chain->size() >= InputsMax(manifest.page_size)) chain->resize(InputsMax(manifest.page_size) - 1);
  job.inputs.push_back(newest);
  job.inputs.insert(job.inputs.end(), chain->begin(), chain->end());
  job.output = {ObjectKind::kLevel, kSnapshotLevel, Txid(1), job.inputs.back().name.max_txid};
  return job;
}

std::optional<Job> PlanSegments(const Manifest& manifest, CaptureTime now) {
  Job job;
  job.kind = Job::Kind::kSegments;
  uint64_t bytes = 0;
  const auto ready = [&] { return job.inputs.size() > 1; };
  for (const ArchivedObject& segment : manifest.Live(ObjectKind::kSegment, 0)) {
    const bool joins =
        !job.inputs.empty() && Follows(job.inputs.back(), segment) &&
        WindowOf(job.inputs.back().captured_at, kSegmentWindow) == WindowOf(segment.captured_at, kSegmentWindow) &&
        bytes + segment.bytes <= kSegmentBytesMax && job.inputs.size() < kSegmentInputsMax;
    if (!joins) {
      if (ready()) break;
      job.inputs.clear();
      bytes = 0;
    }
    if (!Ended(segment.captured_at, kSegmentWindow, now)) break;
    job.inputs.push_back(segment);
    bytes += segment.bytes;
  }
  if (!ready()) return std::nullopt;
  job.output = NameOf(job.kind, 0, job.inputs);
  job.reason = "an hour of segments";
  return job;
}

std::optional<Job> PlanNext(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now) {
  // Rarest first: levels that are due all the time would never let a snapshot begin.
  if (std::optional<Job> job = PlanSnapshot(manifest, config, now, false)) return job;
  if (std::optional<Job> job = PlanSegments(manifest, now)) return job;
  for (uint8_t level = kLevelMax; level >= 1; --level) {
    if (std::optional<Job> job = PlanLevel(manifest, config, level, now)) return job;
  }
  return std::nullopt;
}

std::vector<ObjectName> PlanRetention(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now) {
  std::vector<ObjectName> condemned;
  const CaptureTime limit = now - config.retention;
  // The snapshot from which the oldest moment that is kept is restored; all before it can go.
  Txid floor;
  for (const ArchivedObject& snapshot : manifest.Live(ObjectKind::kLevel, kSnapshotLevel)) {
    if (snapshot.captured_at <= limit) floor = snapshot.name.max_txid;
  }
  // Segments lead on from where the levels stop: within a window of the highest one.
  const CaptureTime segment_limit = now - config.segment_retention - config.level_intervals.back();
  const std::vector<ArchivedObject> segments = manifest.Live(ObjectKind::kSegment, 0);
  const Txid newest_segment = segments.empty() ? Txid() : segments.back().name.max_txid;
  for (const ArchivedObject& object : manifest.objects) {
    if (object.condemned()) continue;
    const bool segment = object.name.kind == ObjectKind::kSegment;
    const bool old_segment = segment && object.captured_at < segment_limit && object.name.max_txid != newest_segment;
    const bool old_level = !segment && object.name.level != kSnapshotLevel && object.name.max_txid <= floor;
    const bool old_snapshot = !segment && object.name.level == kSnapshotLevel && object.name.max_txid < floor;
    if (old_segment || old_level || old_snapshot) condemned.push_back(object.name);
  }
  return condemned;
}

std::vector<ObjectName> PlanDeletes(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now) {
  std::vector<ObjectName> deletes;
  for (const ArchivedObject& object : manifest.objects) {
    if (!object.condemned() || object.condemned_at + GraceOf(object.name, config) > now) continue;
    deletes.push_back(object.name);
    if (deletes.size() == kDeletesMax) break;
  }
  return deletes;
}

bus::StreamSeq PlanTrim(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now) {
  const CaptureTime limit = now - config.bus.retention;
  const std::vector<ArchivedObject> snapshots = manifest.Live(ObjectKind::kLevel, kSnapshotLevel);
  if (snapshots.empty()) return bus::StreamSeq();
  const Txid image = snapshots.back().name.max_txid;
  const bool proven = manifest.unproven_txid <= image;
  bus::StreamSeq before;
  for (const ArchivedObject& segment : manifest.Live(ObjectKind::kSegment, 0)) {
    if (!proven && segment.name.max_txid > image) break;
    if (segment.captured_at < limit && segment.last_seq != bus::StreamSeq()) before = segment.last_seq.Next();
  }
  return before;
}

}  // namespace runnel::archive
