// Reads the commits of one WAL in order, up to the frame the wal-index calls committed.
//
// The wal-index header is the authority for what is committed, never the file's checksum chain: a commit frame that is
// chain-valid but beyond mx_frame may be overwritten (its writer died before the header), and following the chain
// publishes such phantoms. The chain is verified all the same, against rot and against ourselves.
//
// REQUIRES of all calls: a pin keeps the frames behind the position (capture sees to it). THREAD: one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/sqlite/live/live_db.h"
#include "publisher/capture_types.h"

namespace runnel::publisher {

class WalTail {
 public:
  explicit WalTail(sqlite::LiveDb& db);

  // Reading goes on behind `position`; growth is counted from `page_count`.
  void Seek(const WalPosition& position, uint32_t page_count);
  const WalPosition& position() const { return at_; }
  uint32_t page_count() const { return page_count_; }

  // Steps over to the beginning of the WAL with the salts of `header`, whose checksum chain starts in the file's own
  // header. kCorrupt: the file's header is not the one of that wal-index.
  Status EnterWal(const sqlite::WalIndexHeader& header);

  // Commits may be read up to this header's mx_frame. REQUIRES: its salts are the position's.
  void SetLimit(const sqlite::WalIndexHeader& header) { limit_ = header; }
  bool at_limit() const { return at_.frame >= limit_.max_frame; }

  // The next commit up to the limit; nullopt when none. kCorrupt: a committed frame is not what the WAL says it is.
  Result<std::optional<CommitFrames>> Next();
  // A page of the last commit. LIFETIME: until the next call of Next or Page. Small commits come from memory.
  Result<Bytes> Page(const PageSource& source);

  // Committed frames without checksum that were taken on the wal-index's word (see Verify).
  uint64_t unverified_frames() const { return unverified_frames_; }

 private:
  bool Resident(uint32_t frame) const { return frame >= first_ && frame - first_ < frames_; }
  const std::byte* FrameAt(uint32_t frame) const { return buffer_.get() + size_t{frame - first_} * frame_bytes_; }
  Status Load(uint32_t frame, uint32_t keep_from);
  Status Verify(uint32_t frame, uint32_t checksum[2]);
  bool IsPadding(uint32_t frame, uint64_t commit_end) const;
  Status CollectPages(CommitFrames& commit);
  Status FillGrowth(CommitFrames& commit);
  Result<Bytes> PageFromWal(uint32_t frame);
  Error Corrupt(uint32_t frame, const char* what) const;

  sqlite::LiveDb& db_;
  const size_t page_bytes_;
  const size_t frame_bytes_;  // frame header and page
  const uint32_t buffer_frames_max_;

  WalPosition at_;
  uint32_t page_count_ = 0;
  bool chain_known_ = false;
  sqlite::WalIndexHeader limit_{};

  std::unique_ptr<std::byte[]> buffer_;  // frames first_ .. first_ + frames_ - 1
  uint32_t first_ = 1;
  uint32_t frames_ = 0;
  std::vector<PageSource> found_;        // every frame of the commit being read
  std::unique_ptr<std::byte[]> window_;  // frames of a large commit, read again for their pages
  uint32_t window_first_ = 1;
  uint32_t window_frames_ = 0;
  uint64_t unverified_frames_ = 0;
};

}  // namespace runnel::publisher
