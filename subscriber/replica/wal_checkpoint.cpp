// WalWriter::Checkpoint: SQLite's walCheckpoint on borrowed handles (facts of its order: locks CKPT, read marks, READ0,
// WAL durable, pages, file size, database durable, nBackfill).
#include <algorithm>
#include <utility>

#include "ltx/base/check.h"
#include "ltx/base/crash_point.h"
#include "ltx/sqlite/wal_index.h"
#include "subscriber/replica/wal_writer.h"

namespace runnel::replica {
namespace {

// Frames sorted at once: 8 MiB of (page, frame) pairs.
constexpr uint32_t kCopyFramesMax = 1u << 20;
// Neighbouring pages leave in one write of this size.
constexpr size_t kRunBytes = 64 * 1024;

}  // namespace

// The newest frame every reader can do without: marks nobody holds are moved out of the way, the others limit it.
uint32_t WalWriter::RaiseReadMarks() {
  uint32_t safe = header_.max_frame;
  for (int slot = 1; slot < sqlite::kReadSlots; ++slot) {
    uint32_t mark = live_.read_mark(slot);
    if (safe <= mark) continue;
    if (live_.TryExclusive(sqlite::LockRead(slot))) {
      live_.set_read_mark(slot, slot == 1 ? safe : sqlite::kReadMarkNotUsed);
      live_.UnlockExclusive(sqlite::LockRead(slot));
    } else {
      safe = mark;
    }
  }
  return safe;
}

Status WalWriter::CopyPages(const std::vector<std::pair<uint32_t, uint32_t>>& newest) {
  std::vector<std::byte> run(std::max<size_t>(kRunBytes, page_size_));
  size_t filled = 0;
  uint32_t next_pgno = 0;
  auto write_run = [&]() -> Status {
    if (filled == 0) return Ok();
    uint64_t first = next_pgno - filled / page_size_;
    TRY(live_.WriteDb(Bytes(run.data(), filled), (first - 1) * page_size_));
    filled = 0;
    CrashPoint("checkpoint_page_copied");
    return Ok();
  };
  for (const auto& [pgno, frame] : newest) {
    if (pgno != next_pgno || filled + page_size_ > run.size()) TRY(write_run());
    TRY(ReadFrame(frame, MutableBytes(run.data() + filled, page_size_)));
    filled += page_size_;
    next_pgno = pgno + 1;
  }
  return write_run();
}

Status WalWriter::CopyFrames(uint32_t first, uint32_t last) {
  std::vector<std::pair<uint32_t, uint32_t>> frames;  // (pgno, frame)
  frames.reserve(last - first + 1);
  for (uint32_t frame = first; frame <= last; ++frame) {
    TRY_ASSIGN(Pgno pgno, map_.PageOf(frame));
    if (pgno.raw() <= header_.page_count) frames.emplace_back(pgno.raw(), frame);
  }
  std::sort(frames.begin(), frames.end());
  // Of each page the last, newest one stays.
  size_t kept = 0;
  for (size_t i = 0; i < frames.size(); ++i) {
    if (i + 1 < frames.size() && frames[i + 1].first == frames[i].first) continue;
    frames[kept++] = frames[i];
  }
  frames.resize(kept);
  return CopyPages(frames);
}

Result<CheckpointOutcome> WalWriter::Checkpoint(bool sync) {
  CheckpointOutcome outcome;
  if (live_.backfill() == header_.max_frame) {
    outcome.complete = true;
    return outcome;
  }
  if (!live_.TryExclusive(sqlite::kLockCheckpoint)) {
    outcome.busy = true;
    return outcome;
  }
  HeldLocks checkpoint(live_, sqlite::kLockCheckpoint, 1);
  uint32_t safe = RaiseReadMarks();
  uint32_t done = live_.backfill();
  if (done >= safe) {
    outcome.complete = done == header_.max_frame;
    return outcome;
  }
  if (!live_.TryExclusive(sqlite::LockRead(0))) {
    outcome.busy = true;
    return outcome;
  }
  HeldLocks file_readers(live_, sqlite::LockRead(0), 1);
  CrashPoint("checkpoint_locked");
  live_.SetWord(sqlite::kBackfillAttemptedOffset, safe);
  if (sync) TRY(live_.SyncWal());
  CrashPoint("checkpoint_wal_synced");
  for (uint32_t first = done + 1; first <= safe;) {
    uint32_t last = std::min(safe, first + kCopyFramesMax - 1);
    TRY(CopyFrames(first, last));
    first = last + 1;
  }
  CrashPoint("checkpoint_copied");
  if (safe == header_.max_frame) {
    TRY(live_.TruncateDb(uint64_t{header_.page_count} * page_size_));
    if (sync) TRY(live_.SyncDb());
  }
  CrashPoint("checkpoint_db_synced");
  live_.SetWord(sqlite::kBackfillOffset, safe);
  CrashPoint("checkpoint_done");
  outcome.complete = safe == header_.max_frame;
  outcome.frames = safe - done;
  return outcome;
}

}  // namespace runnel::replica
