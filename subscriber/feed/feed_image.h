// The feed's own image of the database: a file that moves from one delivered commit to a later one, and the pages of
// the commits since, which are not delivered yet.
//
//   DIR/lock    held by the feed that works here
//   DIR/state   where the image is and what the sink has (feed_state.h)
//   DIR/image   the database, page after page: byte for byte what the position names
//   DIR/redo    slots of [64 bytes: page number as 8 of them, notes of the running process; page]: pages of later
//               commits, the newest version last
//
// A commit is staged (its pages land in the redo file, which is mapped), proven by its checksum, diffed against the
// image before, and accepted; Persist writes accepted commits into the image once the sink has their events.
//
// I1  The state names an image that can be had from DIR/image and the redo pages it counts; killed anywhere, Open goes
// on
//     there. Commits accepted since then are read again from the log.
// I2  Staging proves: AcceptCommit is refused unless image and pages have the checksum that the LTX says.
// Memory: what is mapped is the kernel's; of our own 12 bytes a page that waits in the redo file.
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
#include "subscriber/feed/page_slots.h"

namespace runnel::feed {

class FeedImage : public sqlite::PageSource {
 public:
  // Takes the lock, finishes what a killed feed left half done, and proves the image. Errors: kConflict (another feed
  // works here), kCorrupt (the image is not what the state says: Reset it, then start from a snapshot), kIo.
  static Result<std::unique_ptr<FeedImage>> Open(const std::string& dir);
  ~FeedImage() override;
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
  // Checks image and pages against the position. Errors: kCorrupt.
  Status ProveCommit(const Position& after);
  const sqlite::PageSource& staged() const { return staged_view_; }
  const std::vector<Pgno>& staged_pages() const { return staged_pages_; }
  // Of the proven commit.
  Txid staged_txid() const { return staged_position_.txid; }
  void AbortCommit();
  void AcceptCommit();

  // Bytes that wait in the redo file.
  uint64_t waiting_bytes() const { return slots_used_ * SlotBytes(); }
  // All accepted commits go into the image file, and `state` (position and size are set here) becomes what a restart
  // finds. DURABLE: as StateFile::Write.
  Status Persist(FeedState state);
  // Only the state: what was delivered inside a commit, another phase. Position and size stay.
  void Note(FeedState state);
  // DURABLE: everything persisted, against power loss.
  Status Sync();

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
  Status Redo();
  Status Prove();
  void SetPageSize(PageSize page_size);
  Status MapImage(uint32_t page_count);
  Status GrowRedo(uint64_t slots);
  enum class Part { kWhole, kDifference };
  Status WriteSlots(Part part);
  Difference NotedDifference(uint64_t slot) const;
  uint64_t SlotBytes() const { return kSlotHeadBytes + page_size_; }
  std::byte* SlotAt(uint64_t slot) const { return redo_ + slot * SlotBytes(); }
  std::byte* ImageAt(Pgno pgno) const { return image_ + uint64_t{pgno.raw() - 1} * page_size_; }
  bool IsLockPage(Pgno pgno) const { return pgno == LockPage(PageSize(static_cast<uint32_t>(page_size_))); }
  Bytes SlotPage(uint64_t slot) const { return {SlotAt(slot) + kSlotHeadBytes, page_size_}; }
  Bytes ImagePage(Pgno pgno) const { return {ImageAt(pgno), page_size_}; }

  static constexpr uint64_t kSlotHeadBytes = 64;  // keeps pages on cache lines

  const std::string dir_;
  const FileLock lock_;
  std::unique_ptr<StateFile> state_file_;
  std::unique_ptr<File> image_file_;
  std::unique_ptr<File> redo_file_;
  bool damaged_ = false;
  uint64_t page_size_ = 0;

  std::byte* image_ = nullptr;  // mapped
  uint64_t image_mapped_ = 0;   // bytes
  uint32_t image_pages_ = 0;    // that the file holds
  std::byte* redo_ = nullptr;   // mapped to be written
  uint64_t redo_slots_ = 0;     // there is room for

  Position position_;
  uint32_t page_count_ = 0;
  uint64_t slots_used_ = 0;  // accepted; staged ones lie behind them
  PageSlots accepted_;

  StagedView staged_view_{*this};
  uint32_t staged_count_ = 0;
  std::vector<Pgno> staged_pages_;
  PageSlots staged_;
  Pgno staging_;  // the page that is being put into its slot; 0: none
  Checksum staged_checksum_;
  std::optional<ltx::PageChange> page_change_;  // once the page size is known
  Position staged_position_;
  Checksum image_checksum_;  // of the image being made
};

}  // namespace runnel::feed
