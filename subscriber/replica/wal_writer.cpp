#include "subscriber/replica/wal_writer.h"

#include <sys/random.h>

#include <algorithm>
#include <cstring>
#include <string>

#include "ltx/base/check.h"
#include "ltx/base/crash_point.h"
#include "ltx/sqlite/wal_format.h"
#include "ltx/sqlite/wal_index.h"

namespace runnel::replica {
namespace {

using sqlite::kFrameHeaderBytes;
using sqlite::LockRead;
using sqlite::WalIndexHeader;

// Large enough for 64 KiB writes, small enough to stay in the second-level cache between copying a page and summing it.
constexpr size_t kBufferBytes = 128 * 1024;

uint32_t RandomWord() {
  uint32_t word = 0;
  CHECK(getrandom(&word, sizeof word, 0) == static_cast<ssize_t>(sizeof word), "getrandom");
  return word;
}

}  // namespace

bool WalIdentity::Matches(const WalIdentity& other) const {
  if (salt[0] == 0 && salt[1] == 0) return false;
  if (!sqlite::SameSalt(salt, other.salt) || max_frame != other.max_frame) return false;
  return max_frame == 0 || sqlite::SameSalt(frame_checksum, other.frame_checksum);
}

WalIdentity WalWriter::IdentityOf(const WalIndexHeader& header) {
  WalIdentity identity;
  std::memcpy(identity.salt, header.salt, sizeof identity.salt);
  identity.max_frame = header.max_frame;
  std::memcpy(identity.frame_checksum, header.frame_checksum, sizeof identity.frame_checksum);
  return identity;
}

WalWriter::WalWriter(sqlite::LiveDb& live)
    : live_(live),
      page_size_(live.page_size()),
      frame_bytes_(kFrameHeaderBytes + page_size_),
      buffer_frames_(static_cast<uint32_t>(std::max<size_t>(1, kBufferBytes / frame_bytes_))),
      map_(live),
      buffer_(buffer_frames_ * frame_bytes_) {}

Status WalWriter::Adopt() {
  CHECK(live_.Holds(sqlite::kLockWrite), "adopting a WAL without its write lock");
  bool readable = live_.ReadHeader(header_);
  if (!readable || live_.backfill() > header_.max_frame) {
    TRY(Recover());
  }
  if (header_.max_frame > 0 && sqlite::PageSizeOf(header_) != page_size_) {
    return Error(Errc::kUnsupported, live_.path() + ": the WAL has pages of " + std::to_string(PageSizeOf(header_)) +
                                         " bytes, the database file of " + std::to_string(page_size_));
  }
  return map_.Clean(header_.max_frame);  // what a killed writer left
}

bool WalWriter::Undisturbed() const {
  WalIndexHeader live;
  return live_.ReadHeader(live) && std::memcmp(&live, &header_, sizeof live) == 0 &&
         live_.backfill() <= header_.max_frame;
}

// A reader that may not write the -shm file needs a usable mark; without one it gets SQLITE_READONLY_CANTINIT.
void WalWriter::PlantReadMark() {
  for (int slot = 1; slot < sqlite::kReadSlots; ++slot) {
    if (live_.read_mark(slot) <= header_.max_frame) return;
  }
  for (int slot = 1; slot < sqlite::kReadSlots; ++slot) {
    if (!live_.TryExclusive(LockRead(slot))) continue;
    live_.set_read_mark(slot, header_.max_frame);
    live_.UnlockExclusive(LockRead(slot));
    return;
  }
}

Status WalWriter::Start(bool sync_header) {
  PlantReadMark();
  next_ = header_;
  buffered_ = 0;
  return header_.max_frame == 0 ? StartOver(sync_header) : Ok();
}

Status WalWriter::StartOver(bool sync_header) {
  sqlite::WalHeader wal;
  wal.page_size = page_size_;
  TRY_ASSIGN(uint64_t bytes, live_.WalBytes());
  std::byte raw[sqlite::kWalHeaderBytes];
  if (bytes >= sizeof raw) {
    TRY(live_.ReadWal(raw, 0));
    wal.sequence = LoadBe32(raw + 12) + 1;
  }
  if (next_.salt[0] == 0 && next_.salt[1] == 0) {
    next_.salt[0] = RandomWord();
    next_.salt[1] = RandomWord() | 1u;  // never both zero: WalIdentity's "unused"
  }
  std::memcpy(wal.salt, next_.salt, sizeof wal.salt);
  sqlite::EncodeWalHeader(wal, raw);
  next_.big_endian_checksum = 0;
  next_.frame_checksum[0] = LoadBe32(raw + 24);
  next_.frame_checksum[1] = LoadBe32(raw + 28);
  TRY(live_.WriteWal(raw, 0));
  if (sync_header) TRY(live_.SyncWal());
  CrashPoint("apply_wal_header_written");
  return Ok();
}

Status WalWriter::Add(Pgno pgno, Bytes page) {
  CHECK(page.size() == page_size_, "page of another size");
  if (buffered_ == buffer_frames_) {
    EncodeBuffered(0);
    TRY(WriteBuffered());
  }
  std::byte* frame = buffer_.data() + buffered_ * frame_bytes_;
  StoreBe32(frame, pgno.raw());
  std::memcpy(frame + kFrameHeaderBytes, page.data(), page.size());
  ++buffered_;
  return Ok();
}

// `commit_pages` marks the last frame as the end of the commit.
void WalWriter::EncodeBuffered(uint32_t commit_pages) {
  for (uint32_t i = 0; i < buffered_; ++i) {
    std::byte* frame = buffer_.data() + i * frame_bytes_;
    StoreBe32(frame + 4, i + 1 == buffered_ ? commit_pages : 0);
    std::memcpy(frame + 8, next_.salt, sizeof next_.salt);
    sqlite::AddFrame(next_.big_endian_checksum != 0, Bytes(frame, 8), Bytes(frame + kFrameHeaderBytes, page_size_),
                     next_.frame_checksum);
    StoreBe32(frame + 16, next_.frame_checksum[0]);
    StoreBe32(frame + 20, next_.frame_checksum[1]);
  }
}

// Writes the buffered frames behind next_.max_frame, then their index entries.
Status WalWriter::WriteBuffered() {
  uint32_t first = next_.max_frame + 1;
  Bytes bytes(buffer_.data(), buffered_ * frame_bytes_);
  uint64_t offset = sqlite::FrameOffset(first, page_size_);
  if (CrashPointsArmed()) {
    TRY(live_.WriteWal(bytes.first(bytes.size() / 2 + 5), offset));
    CrashPoint("apply_frames_torn");
  }
  TRY(live_.WriteWal(bytes, offset));
  CrashPoint("apply_frames_written");
  for (uint32_t i = 0; i < buffered_; ++i) {
    if (i == buffered_ / 2) CrashPoint("apply_index_partial");
    TRY(map_.Append(first + i, Pgno(LoadBe32(buffer_.data() + i * frame_bytes_))));
  }
  next_.max_frame += buffered_;
  buffered_ = 0;
  return Ok();
}

WalIdentity WalWriter::Seal(uint32_t page_count) {
  CHECK(buffered_ > 0, "a commit without pages");
  EncodeBuffered(page_count);
  next_.page_count = page_count;
  next_.page_size_code = sqlite::PageSizeCode(page_size_);
  next_.change = header_.change + 1;
  WalIdentity identity = IdentityOf(next_);
  identity.max_frame += buffered_;
  return identity;
}

Status WalWriter::Finish() {
  TRY(WriteBuffered());
  CrashPoint("apply_index_written");
  return Ok();
}

void WalWriter::Publish() {
  CHECK(buffered_ == 0 && next_.max_frame > header_.max_frame, "publishing an unfinished commit");
  live_.WriteHeader(next_, [] { CrashPoint("apply_between_copies"); });
  header_ = next_;
}

Status WalWriter::Discard() {
  buffered_ = 0;
  next_ = header_;
  TRY(map_.Clean(header_.max_frame));
  return CutTail();
}

Status WalWriter::CutTail() {
  TRY_ASSIGN(uint64_t bytes, live_.WalBytes());
  uint64_t offset = sqlite::FrameOffset(header_.max_frame + 1, page_size_);
  // An empty WAL still has the frames of its last life behind the header, all of them in the database file: they may
  // come back.
  if (header_.max_frame == 0) {
    std::byte raw[sqlite::kWalHeaderBytes];
    if (bytes < sizeof raw) return Ok();
    TRY(live_.ReadWal(raw, 0));
    std::optional<sqlite::WalHeader> wal = sqlite::ParseWalHeader(raw);
    if (!wal || !sqlite::SameSalt(wal->salt, header_.salt)) return Ok();
  }
  if (bytes < offset + kFrameHeaderBytes) return Ok();
  std::byte zeros[kFrameHeaderBytes] = {};
  return live_.WriteWal(zeros, offset);
}

Result<bool> WalWriter::TryReset(const std::function<void(const WalIdentity&)>& announce, uint64_t keep_bytes) {
  if (header_.max_frame == 0 || live_.backfill() != header_.max_frame) return false;
  // Under CKPT: a checkpointer older than SQLite 3.51.3 that read the old header could otherwise store its old
  // nBackfill into the new life of the WAL (the "WAL-reset bug").
  if (!live_.TryExclusive(sqlite::kLockCheckpoint)) return false;
  HeldLocks checkpoint(live_, sqlite::kLockCheckpoint, 1);
  if (live_.backfill() != header_.max_frame) return false;
  constexpr int kWalReaders = sqlite::kReadSlots - 1;
  if (!live_.TryExclusive(LockRead(1), kWalReaders)) return false;
  HeldLocks readers(live_, LockRead(1), kWalReaders);

  WalIndexHeader empty = header_;
  empty.max_frame = 0;
  std::byte* salt = reinterpret_cast<std::byte*>(empty.salt);
  StoreBe32(salt, LoadBe32(salt) + 1);
  empty.salt[1] = RandomWord() | 1u;
  announce(IdentityOf(empty));
  CrashPoint("reset_announced");
  live_.SetWord(sqlite::kBackfillOffset, 0);
  live_.Barrier();
  CrashPoint("reset_backfill_cleared");
  live_.WriteHeader(empty, [] { CrashPoint("reset_between_copies"); });
  header_ = empty;
  CrashPoint("reset_published");
  live_.SetWord(sqlite::kBackfillAttemptedOffset, 0);
  live_.set_read_mark(1, 0);
  for (int slot = 2; slot < sqlite::kReadSlots; ++slot) live_.set_read_mark(slot, sqlite::kReadMarkNotUsed);
  CrashPoint("reset_marks_cleared");
  TRY_ASSIGN(uint64_t bytes, live_.WalBytes());
  if (bytes > keep_bytes) TRY(live_.TruncateWal(0));
  return true;
}

Status WalWriter::ReadFrame(uint32_t frame, MutableBytes page) const {
  return live_.ReadWal(page, sqlite::FrameOffset(frame, page_size_) + kFrameHeaderBytes);
}

Status WalWriter::ReadPage(Pgno pgno, MutableBytes out) const {
  CHECK(out.size() == page_size_, "page buffer of another size");
  TRY_ASSIGN(uint32_t frame, map_.FindFrame(pgno, header_.max_frame));
  return frame != 0 ? ReadFrame(frame, out) : ReadFilePage(pgno, out);
}

Status WalWriter::ReadFilePage(Pgno pgno, MutableBytes out) const {
  return live_.ReadDb(out, uint64_t{pgno.raw() - 1} * page_size_);
}

Result<bool> WalWriter::IsCopied(Pgno pgno) const {
  TRY_ASSIGN(uint32_t frame, map_.FindFrame(pgno, header_.max_frame));
  return frame != 0 && frame <= live_.backfill();
}

}  // namespace runnel::replica
