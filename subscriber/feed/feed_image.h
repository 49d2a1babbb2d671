// The feed's own image of the database: a file that moves with each commit the feed has told, and what a restart needs
// to take back those whose events the sink may not have.
//
//   DIR/lock    held by the feed that works here
//   DIR/state   where a restart goes on, and what the sink has (feed_state.h)
//   DIR/image   the database, page after page, at its newest accepted commit; behind it there may be room for more
//   DIR/undo    what commits since that state have overwritten (undo_log.h)
//   DIR/staged  pages of the commit being told; nothing across restarts
//
// A commit is staged (its pages land in a mapped file), proven by its checksum, diffed against the image before, and
// accepted: the bytes that differ go into the image at once, while both pages are in the processor's cache. Persist
// makes a state of that, once the sink has the events.
//
// I1  The state names an image that can be had from DIR/image and DIR/undo; killed anywhere, Open goes on there, and
//     commits accepted since then are read again from the log.
// I2  Staging proves: AcceptCommit is refused unless image and pages have the checksum that the LTX says.
// Memory: what is mapped is the kernel's; of our own about 50 bytes a page of the commit being told.
// THREAD: one. LIFETIME: page bytes until the next call that is not const.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ltx/base/fs.h"
#include "ltx/base/result.h"
#include "ltx/format/checksum.h"
#include "ltx/format/types.h"
#include "ltx/sqlite/page_source.h"
#include "subscriber/feed/difference.h"
#include "subscriber/feed/feed_state.h"
#include "subscriber/feed/mapped_file.h"
#include "subscriber/feed/page_slots.h"
#include "subscriber/feed/undo_log.h"

namespace runnel::feed {

class FeedImage : public sqlite::PageSource {
 public:
  // Takes the lock, takes back what the last state does not have, and proves the image. Errors: kConflict (another feed
  // works here), kCorrupt (the image is not what the state says: Reset it, then start from a snapshot), kIo.
  static Result<std::unique_ptr<FeedImage>> Open(const std::string& dir);
  FeedImage(const FeedImage&) = delete;
  FeedImage& operator=(const FeedImage&) = delete;

  // What a restart would find.
  const FeedState& state() const { return state_file_->state(); }
  // Of the newest accepted commit.
  const Position& position() const { return position_; }
  bool empty() const { return state().page_size.raw() == 0; }
  // Not the same as empty: the image was damaged (power loss), what the sink has is still known.
  bool damaged() const { return damaged_; }

  uint32_t page_count() const override { return page_count_; }
  Result<Bytes> Page(Pgno pgno) const override;

  // A whole image, page by page, in place of what is there; nothing counts until FinishImage. The state keeps
  // `delivered`.
  Status StartImage(PageSize page_size, uint32_t page_count);
  Status AddImagePage(Pgno pgno, Bytes page);
  Status FinishImage(const FeedState& state);

  // One commit. REQUIRES: !empty(), the page size is ours.
  Status BeginCommit(uint32_t page_count);
  // Where the next page of the commit belongs, and what makes it count. REQUIRES: in turn; what StagePage returned is
  // filled before FinishPage.
  Result<MutableBytes> StagePage(Pgno pgno);
  Status FinishPage();
  Status AddPage(Pgno pgno, Bytes page);
  // Checks image and pages against the position, and makes room for what AcceptCommit does, which cannot fail.
  // Errors: kCorrupt, kIo, kExhausted.
  Status ProveCommit(const Position& after);
  const sqlite::PageSource& staged() const { return staged_view_; }
  const std::vector<Pgno>& staged_pages() const { return staged_pages_; }
  // Of the staged pages from those of the image.
  KnownDifferences staged_differences() const { return {staged_pages_, differences_}; }
  // Of the proven commit.
  Txid staged_txid() const { return staged_position_.txid; }
  void AbortCommit();
  void AcceptCommit();

  // Bytes of the pages accepted since the last state.
  uint64_t waiting_bytes() const { return waiting_pages_ * page_size_; }
  // `state` (position and size are set here) with all accepted commits becomes what a restart finds.
  // DURABLE: as StateFile::Write.
  Status Persist(FeedState state);
  // Only the state: what was delivered inside a commit, another phase. Position and size stay.
  void Note(FeedState state);

 private:
  class StagedView : public sqlite::PageSource {
   public:
    explicit StagedView(const FeedImage& image) : image_(image) {}
    uint32_t page_count() const override { return image_.staged_count_; }
    Result<Bytes> Page(Pgno pgno) const override;

   private:
    const FeedImage& image_;
  };

  FeedImage(std::string dir, FileLock lock, std::unique_ptr<StateFile> state);
  Status OpenFiles();
  Status TakeBack();
  Status Prove();
  void SetPageSize(PageSize page_size);
  // From here on the image's file has room for so many pages, and they are mapped.
  Status MapImage(uint32_t page_count);
  Status MapSlots(uint64_t slots);
  Status CutRoom();
  // The last state has this page: a restart may have to give it back as it was.
  bool NeedsUndo(Pgno pgno) const { return pgno.raw() <= state().page_count; }
  void WriteState(FeedState next);
  std::byte* SlotAt(uint64_t slot) const { return slots_->data() + slot * page_size_; }
  Bytes SlotPage(uint64_t slot) const { return {SlotAt(slot), page_size_}; }
  std::byte* ImageAt(Pgno pgno) const { return image_->data() + uint64_t{pgno.raw() - 1} * page_size_; }
  Bytes ImagePage(Pgno pgno) const { return {ImageAt(pgno), page_size_}; }
  bool IsLockPage(Pgno pgno) const { return pgno == LockPage(PageSize(static_cast<uint32_t>(page_size_))); }

  const std::string dir_;
  const FileLock lock_;
  std::unique_ptr<StateFile> state_file_;
  std::unique_ptr<MappedFile> image_;
  std::unique_ptr<MappedFile> slots_;  // pages of the commit being staged, in its order
  std::unique_ptr<UndoLog> undo_;
  bool damaged_ = false;
  uint64_t page_size_ = 0;

  Position position_;
  uint32_t page_count_ = 0;
  uint64_t waiting_pages_ = 0;

  StagedView staged_view_{*this};
  uint32_t staged_count_ = 0;  // pages behind the commit, or of the image being made
  std::vector<Pgno> staged_pages_;
  std::vector<Difference> differences_;  // of each from the image
  PageSlots staged_;
  Pgno staging_;  // the page that is being put into its slot; 0: none
  Checksum staged_checksum_;
  std::optional<ltx::PageChange> page_change_;  // once the page size is known
  Position staged_position_;
  Checksum image_checksum_;  // of the image being made
};

}  // namespace runnel::feed
