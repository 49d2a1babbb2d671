// WalWriter::Recover: rebuilds the wal-index from the WAL file as SQLite's walIndexRecover does. Stock SQLite needs the
// WRITE lock for that, which we hold for life, so a header torn while we are attached is ours to mend.
#include <algorithm>
#include <chrono>
#include <cstring>
#include <string>

#include "ltx/base/check.h"
#include "ltx/base/crash_point.h"
#include "ltx/base/time.h"
#include "ltx/sqlite/wal_format.h"
#include "ltx/sqlite/wal_index.h"
#include "subscriber/replica/wal_writer.h"

namespace runnel::replica {
namespace {

// Checkpointers hold CKPT for as long as their copying takes; readers hold RECOVER for microseconds.
constexpr int kLockTries = 2000;
constexpr std::chrono::milliseconds kLockRetry{1};
constexpr size_t kReadBytes = 1 << 20;

bool SameFrame(const sqlite::FrameHeader& frame, const sqlite::WalHeader& wal, const uint32_t checksum[2]) {
  return sqlite::SameSalt(frame.salt, wal.salt) && frame.checksum[0] == checksum[0] && frame.checksum[1] == checksum[1];
}

}  // namespace

// Every frame whose salts and running checksum are right, up to the last one that ends a commit.
Status WalWriter::RebuildFromFile(WalIndexMap::Rebuild& rebuild, sqlite::WalIndexHeader& header) const {
  TRY_ASSIGN(uint64_t bytes, live_.WalBytes());
  if (bytes < sqlite::kWalHeaderBytes) return Ok();
  std::byte raw[sqlite::kWalHeaderBytes];
  TRY(live_.ReadWal(raw, 0));
  std::optional<sqlite::WalHeader> wal = sqlite::ParseWalHeader(raw);
  if (!wal) return Ok();
  if (wal->page_size != page_size_) {
    return Error(Errc::kUnsupported, live_.path() + ": the WAL has pages of " + std::to_string(wal->page_size) +
                                         " bytes, the database file of " + std::to_string(page_size_));
  }
  header.big_endian_checksum = wal->big_endian_checksum ? 1 : 0;
  std::memcpy(header.salt, wal->salt, sizeof header.salt);
  uint32_t checksum[2] = {wal->checksum[0], wal->checksum[1]};
  uint32_t frames = static_cast<uint32_t>((bytes - sqlite::kWalHeaderBytes) / frame_bytes_);
  uint32_t at_once = static_cast<uint32_t>(std::max<size_t>(1, kReadBytes / frame_bytes_));
  std::vector<std::byte> buffer(at_once * frame_bytes_);
  for (uint32_t frame = 1; frame <= frames; ++frame) {
    uint32_t in_buffer = (frame - 1) % at_once;
    if (in_buffer == 0) {
      size_t size = std::min(at_once, frames - frame + 1) * frame_bytes_;
      TRY(live_.ReadWal(MutableBytes(buffer.data(), size), sqlite::FrameOffset(frame, page_size_)));
    }
    Bytes content(buffer.data() + in_buffer * frame_bytes_, frame_bytes_);
    sqlite::FrameHeader parsed = sqlite::ParseFrameHeader(content);
    sqlite::AddFrame(wal->big_endian_checksum, content.first(8), content.subspan(sqlite::kFrameHeaderBytes), checksum);
    if (parsed.pgno == 0 || !SameFrame(parsed, *wal, checksum)) break;
    rebuild.Append(frame, Pgno(parsed.pgno));
    if (parsed.commit_pages == 0) continue;
    header.max_frame = frame;
    header.page_count = parsed.commit_pages;
    header.page_size_code = sqlite::PageSizeCode(page_size_);
    std::memcpy(header.frame_checksum, checksum, sizeof checksum);
  }
  return Ok();
}

Status WalWriter::Recover() {
  CHECK(live_.Holds(sqlite::kLockWrite), "recovering a WAL without its write lock");
  constexpr int kLocks = 2;  // CKPT and RECOVER are neighbours
  for (int tries = 1; !live_.TryExclusive(sqlite::kLockCheckpoint, kLocks); ++tries) {
    if (tries == kLockTries) {
      return Error(Errc::kUnavailable,
                   live_.path() + ": the WAL needs recovery, but another process is checkpointing it");
    }
    Pause(kLockRetry);
  }
  HeldLocks locks(live_, sqlite::kLockCheckpoint, kLocks);
  ++recoveries_;
  CrashPoint("recover_started");
  WalIndexMap::Rebuild rebuild;
  sqlite::WalIndexHeader header{};
  TRY(RebuildFromFile(rebuild, header));
  TRY(map_.Install(rebuild));
  // Not as SQLite (header first): whoever dies here must not leave nBackfill > max_frame under a valid header.
  live_.SetWord(sqlite::kBackfillOffset, 0);
  live_.Barrier();
  CrashPoint("recover_index_installed");
  live_.WriteHeader(header, [] { CrashPoint("recover_between_copies"); });
  header_ = header;
  CrashPoint("recover_published");
  live_.SetWord(sqlite::kBackfillAttemptedOffset, header.max_frame);
  live_.set_read_mark(0, 0);
  for (int slot = 1; slot < sqlite::kReadSlots; ++slot) {
    if (!live_.TryExclusive(sqlite::LockRead(slot))) continue;
    live_.set_read_mark(slot, slot == 1 && header.max_frame > 0 ? header.max_frame : sqlite::kReadMarkNotUsed);
    live_.UnlockExclusive(sqlite::LockRead(slot));
  }
  return map_.Clean(header_.max_frame);
}

}  // namespace runnel::replica
