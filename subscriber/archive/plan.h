// What an archive needs next, decided from its manifest and the time alone: pure functions over tables, so that every
// rule can be read here and tested as a table. Runners are in compact.h and archiver.h.
//
// What is kept:
//   segments   of the last segment-retention, each commit restorable; small ones are joined hour by hour
//   level 0    until 5 minutes after level 1 has it; level 1, 1 hour; level 2, 24 hours; the highest level is kept
//   snapshots  of the last retention, and the one before, from which its first hours are restored
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "subscriber/archive/config.h"
#include "subscriber/archive/manifest.h"

namespace runnel::archive {

using bus::CaptureTime;

// Something to make of others. The inputs follow each other, oldest first.
struct Job {
  enum class Kind { kLevel, kSnapshot, kSegments };
  Kind kind = Kind::kLevel;
  ObjectName output;
  std::vector<ArchivedObject> inputs;
  std::string reason;  // for the log
};

// How many inputs one merge may have: each costs a decoder and a buffer.
uint32_t InputsMax(PageSize page_size);

// The objects of level-1 whose window has ended, as one of `level` (1 to 3). nullopt: nothing is due.
std::optional<Job> PlanLevel(const Manifest& manifest, const ArchiveConfig& config, uint8_t level, CaptureTime now);
// A snapshot from the newest one and all behind it: when its window has ended, when something behind it can only be
// proven by a whole image (Manifest::unproven_txid), or when `asked`.
std::optional<Job> PlanSnapshot(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now, bool asked);
// Segments of an hour that has ended, as one.
std::optional<Job> PlanSegments(const Manifest& manifest, CaptureTime now);
// The rarest of all of them that is due.
std::optional<Job> PlanNext(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now);

// The fewest live level objects that lead from behind `from` to `to`, in order; kGap when nothing does.
Result<std::vector<ArchivedObject>> PlanChain(const Manifest& manifest, Txid from, Txid to);

// What the retention condemns now.
std::vector<ObjectName> PlanRetention(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now);
// Condemned objects whose time is over.
std::vector<ObjectName> PlanDeletes(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now);
// Messages before this one are archived and older than the log's retention; 0: none.
bus::StreamSeq PlanTrim(const Manifest& manifest, const ArchiveConfig& config, CaptureTime now);

}  // namespace runnel::archive
