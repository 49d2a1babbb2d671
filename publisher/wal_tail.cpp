#include "publisher/wal_tail.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "ltx/base/check.h"
#include "ltx/sqlite/wal_format.h"
#include "publisher/index_lookup.h"

namespace runnel::publisher {

using sqlite::kFrameHeaderBytes;
using sqlite::WalIndexHeader;

namespace {

constexpr size_t kBufferBytes = 1u << 20;
constexpr size_t kWindowBytes = 256u << 10;
// With powersafe overwrite off and synchronous=FULL, SQLite repeats the commit frame until a sector of this size is
// full.
constexpr uint64_t kSectorBytes = 4096;

bool ZeroBytes(const std::byte* p, size_t size) {
  return std::all_of(p, p + size, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

WalTail::WalTail(sqlite::LiveDb& db)
    : db_(db),
      page_bytes_(db.page_size()),
      frame_bytes_(kFrameHeaderBytes + page_bytes_),
      buffer_frames_max_(static_cast<uint32_t>(kBufferBytes / frame_bytes_)),
      buffer_(std::make_unique_for_overwrite<std::byte[]>(buffer_frames_max_ * frame_bytes_)),
      window_(std::make_unique_for_overwrite<std::byte[]>(kWindowBytes)) {}

void WalTail::Seek(const WalPosition& position, uint32_t page_count) {
  frames_ = 0;
  window_frames_ = 0;
  at_ = position;
  page_count_ = page_count;
  chain_known_ = position.checksum_known();
  limit_ = {};
}

Status WalTail::EnterWal(const WalIndexHeader& index) {
  std::byte bytes[sqlite::kWalHeaderBytes];
  TRY(db_.ReadWal(bytes, 0));
  std::optional<sqlite::WalHeader> header = sqlite::ParseWalHeader(bytes);
  if (!header || !sqlite::SameSalt(header->salt, index.salt) || header->page_size != page_bytes_) {
    return Error(Errc::kCorrupt, db_.path() + "-wal: its header is not the one of the wal-index");
  }
  WalPosition start{
      .salt = {index.salt[0], index.salt[1]}, .frame = 0, .checksum = {header->checksum[0], header->checksum[1]}};
  Seek(start, page_count_);
  chain_known_ = true;
  return Ok();
}

Error WalTail::Corrupt(uint32_t frame, const char* what) const {
  return Error(Errc::kCorrupt, db_.path() + "-wal: committed frame " + std::to_string(frame) + " of " +
                                   std::to_string(limit_.max_frame) + " " + what);
}

// Makes `frame` resident and keeps `keep_from`.. when they fit beside it, else the frame before `frame`.
Status WalTail::Load(uint32_t frame, uint32_t keep_from) {
  if (Resident(frame)) return Ok();
  if (frame - keep_from >= buffer_frames_max_) keep_from = frame - 1;
  if (keep_from < frame && Resident(keep_from) && Resident(frame - 1)) {
    std::memmove(buffer_.get(), FrameAt(keep_from), size_t{frame - keep_from} * frame_bytes_);
  } else {
    keep_from = frame;
  }
  uint32_t kept = frame - keep_from;
  uint32_t more = std::min(buffer_frames_max_ - kept, limit_.max_frame - frame + 1);
  first_ = keep_from;
  frames_ = kept;
  MutableBytes out(buffer_.get() + size_t{kept} * frame_bytes_, size_t{more} * frame_bytes_);
  TRY(db_.ReadWal(out, sqlite::FrameOffset(frame, static_cast<uint32_t>(page_bytes_))));
  frames_ += more;
  return Ok();
}

// Checks a resident frame against the chain and moves the chain on.
//
// SQLite before 3.50 can commit frames whose salts and checksum are all zero (a cache spill rewritten, then ROLLBACK
// TO, then a shorter commit). No reader of SQLite looks at them, the wal-index alone makes them committed; so do we,
// and take up the chain at the next frame that has one.
Status WalTail::Verify(uint32_t frame, uint32_t checksum[2]) {
  Bytes bytes(FrameAt(frame), frame_bytes_);
  sqlite::FrameHeader header = sqlite::ParseFrameHeader(bytes);
  if (header.pgno == 0 || header.pgno > kPgnoMax) return Corrupt(frame, "has an impossible page number");
  if (ZeroBytes(bytes.data() + 8, 16)) {
    WalIndexHeader now;
    if (!db_.ReadHeader(now) || !sqlite::SameSalt(now.salt, at_.salt) || now.max_frame < limit_.max_frame) {
      return Error(Errc::kGap, db_.path() + "-wal: moved on while frame " + std::to_string(frame) + " was read");
    }
    chain_known_ = false;
    ++unverified_frames_;
    return Ok();
  }
  if (!sqlite::SameSalt(header.salt, at_.salt)) return Corrupt(frame, "has the salts of another WAL");
  if (chain_known_) {
    sqlite::AddFrame(limit_.big_endian_checksum != 0, bytes, bytes.subspan(kFrameHeaderBytes), checksum);
    if (!sqlite::SameSalt(header.checksum, checksum)) return Corrupt(frame, "does not have its checksum");
  }
  checksum[0] = header.checksum[0];
  checksum[1] = header.checksum[1];
  chain_known_ = true;
  return Ok();
}

// A repeated commit frame that only fills a sector. REQUIRES: `frame` and the one before are resident.
bool WalTail::IsPadding(uint32_t frame, uint64_t commit_end) const {
  uint64_t sector_end = (commit_end + kSectorBytes - 1) / kSectorBytes * kSectorBytes;
  const std::byte* before = FrameAt(frame - 1);
  const std::byte* here = FrameAt(frame);
  return sqlite::FrameOffset(frame, static_cast<uint32_t>(page_bytes_)) < sector_end &&
         std::memcmp(before, here, 8) == 0 &&
         std::memcmp(before + kFrameHeaderBytes, here + kFrameHeaderBytes, page_bytes_) == 0;
}

Result<std::optional<CommitFrames>> WalTail::Next() {
  if (at_limit()) return std::optional<CommitFrames>();
  const uint32_t first = at_.frame + 1;
  uint32_t frame = at_.frame;
  uint32_t checksum[2] = {at_.checksum[0], at_.checksum[1]};
  CommitFrames commit;
  found_.clear();
  while (commit.page_count == 0) {
    if (frame == limit_.max_frame) return Corrupt(frame, "does not end a commit");
    ++frame;
    TRY(Load(frame, first));
    TRY(Verify(frame, checksum));
    found_.push_back({Pgno(LoadBe32(FrameAt(frame))), frame});
    commit.page_count = LoadBe32(FrameAt(frame) + 4);
  }
  const uint64_t commit_end = sqlite::FrameOffset(frame + 1, static_cast<uint32_t>(page_bytes_));
  while (frame < limit_.max_frame && commit_end % kSectorBytes != 0) {
    TRY(Load(frame + 1, first));
    if (!IsPadding(frame + 1, commit_end)) break;
    ++frame;
    TRY(Verify(frame, checksum));
  }
  if (frame == limit_.max_frame && !chain_known_) {  // the wal-index knows where the chain goes on
    checksum[0] = limit_.frame_checksum[0];
    checksum[1] = limit_.frame_checksum[1];
    chain_known_ = true;
  }
  TRY(CollectPages(commit));
  at_.frame = frame;
  at_.checksum[0] = chain_known_ ? checksum[0] : 0;
  at_.checksum[1] = chain_known_ ? checksum[1] : 0;
  page_count_ = commit.page_count;
  window_frames_ = 0;
  commit.end = at_;
  commit.wal_offset = sqlite::FrameOffset(first, static_cast<uint32_t>(page_bytes_));
  commit.wal_bytes = uint64_t{frame - first + 1} * frame_bytes_;
  return std::optional<CommitFrames>(std::move(commit));
}

// found_ -> the newest frame of each page that the commit leaves in the database, and the pages it grew by.
Status WalTail::CollectPages(CommitFrames& commit) {
  if (commit.page_count > kPgnoMax) return Corrupt(limit_.max_frame, "has an impossible database size");
  KeepNewest(found_);
  const Pgno lock_page = LockPage(PageSize(static_cast<uint32_t>(page_bytes_)));
  commit.pages.reserve(found_.size());
  for (const PageSource& page : found_) {
    if (page.pgno.raw() <= commit.page_count && page.pgno != lock_page) commit.pages.push_back(page);
  }
  return commit.page_count > page_count_ ? FillGrowth(commit) : Ok();
}

// SQLite does not write a page it allocated and freed in one transaction; it is in the image all the same.
Status WalTail::FillGrowth(CommitFrames& commit) {
  const Pgno lock_page = LockPage(PageSize(static_cast<uint32_t>(page_bytes_)));
  const size_t own = commit.pages.size();
  auto next = std::lower_bound(commit.pages.begin(), commit.pages.end(), Pgno(page_count_ + 1),
                               [](const PageSource& a, Pgno pgno) { return a.pgno < pgno; });
  size_t at = static_cast<size_t>(next - commit.pages.begin());
  for (uint32_t raw = page_count_ + 1; raw <= commit.page_count; ++raw) {
    if (at < own && commit.pages[at].pgno.raw() == raw) {
      ++at;
      continue;
    }
    if (Pgno(raw) == lock_page) continue;
    TRY_ASSIGN(uint32_t frame, NewestFrameOf(db_, Pgno(raw), at_.frame));
    // What is copied already counts as the file's: a checkpoint between a shrink and this growth has cut it off there.
    if (frame <= db_.backfill()) frame = 0;
    commit.pages.push_back({Pgno(raw), frame});
  }
  std::inplace_merge(commit.pages.begin(), commit.pages.begin() + static_cast<std::ptrdiff_t>(own), commit.pages.end(),
                     [](const PageSource& a, const PageSource& b) { return a.pgno < b.pgno; });
  return Ok();
}

Result<Bytes> WalTail::Page(const PageSource& source) {
  if (source.frame != 0) return PageFromWal(source.frame);
  window_frames_ = 0;
  MutableBytes out(window_.get(), page_bytes_);
  Status read = db_.ReadDb(out, uint64_t{source.pgno.raw() - 1} * page_bytes_);
  // Past the end of the file SQLite fills the rest with zeros and says so.
  if (!read.ok() && read.code() != Errc::kCorrupt) return read.error();
  return Bytes(out);
}

Result<Bytes> WalTail::PageFromWal(uint32_t frame) {
  CHECK(frame <= at_.frame, "a page of a commit that was not read");
  if (Resident(frame)) return Bytes(FrameAt(frame) + kFrameHeaderBytes, page_bytes_);
  if (frame < window_first_ || frame - window_first_ >= window_frames_) {
    // Pages of one transaction mostly follow their frames' order, so going on where the last window ended reads ahead.
    const uint32_t window_max = static_cast<uint32_t>(kWindowBytes / frame_bytes_);
    bool forward = window_frames_ != 0 && frame == window_first_ + window_frames_;
    uint32_t count = forward ? std::min(window_max, at_.frame - frame + 1) : 1;
    window_frames_ = 0;
    TRY(db_.ReadWal({window_.get(), count * frame_bytes_},
                    sqlite::FrameOffset(frame, static_cast<uint32_t>(page_bytes_))));
    window_first_ = frame;
    window_frames_ = count;
  }
  return Bytes(window_.get() + size_t{frame - window_first_} * frame_bytes_ + kFrameHeaderBytes, page_bytes_);
}

}  // namespace runnel::publisher
