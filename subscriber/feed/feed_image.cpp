#include "subscriber/feed/feed_image.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "ltx/base/bytes.h"
#include "ltx/base/check.h"
#include "ltx/base/crash_point.h"
#include "ltx/format/checksum.h"

namespace runnel::feed {
namespace {

constexpr uint64_t kSlotsMin = 64;
// The image's file grows in such steps.
constexpr uint64_t kImageStep = 1 << 20;
constexpr size_t kProveBytes = 256 << 10;
constexpr size_t kCacheLineBytes = 64;

// Asks for memory that is needed soon.
void Fetch(Bytes bytes) {
  for (size_t i = 0; i < bytes.size(); i += kCacheLineBytes) __builtin_prefetch(bytes.data() + i);
}

uint64_t InSteps(uint64_t bytes) { return (bytes + kImageStep - 1) / kImageStep * kImageStep; }

Error NotInImage(Pgno pgno) {
  return Error(Errc::kCorrupt, "page " + std::to_string(pgno.raw()) + ": not in the image");
}

}  // namespace

FeedImage::FeedImage(std::string dir, FileLock lock, std::unique_ptr<StateFile> state)
    : dir_(std::move(dir)), lock_(std::move(lock)), state_file_(std::move(state)) {}

Result<std::unique_ptr<FeedImage>> FeedImage::Open(const std::string& dir) {
  TRY(CreateDirs(dir, 0700));
  TRY_ASSIGN(FileLock lock, FileLock::Acquire(dir + "/lock"));
  TRY_ASSIGN(StateFile state, StateFile::Open(dir + "/state"));
  std::unique_ptr<FeedImage> image(new FeedImage(dir, std::move(lock), std::make_unique<StateFile>(std::move(state))));
  TRY(image->OpenFiles());
  return image;
}

Status FeedImage::OpenFiles() {
  TRY_ASSIGN(File image, File::OpenOrCreate(dir_ + "/image", 0600));
  TRY_ASSIGN(File slots, File::CreateOrTruncate(dir_ + "/staged", 0600));
  TRY_ASSIGN(undo_, UndoLog::Open(dir_ + "/undo"));
  // Pages are read and written one by one, all over the file; what the kernel caches in larger pieces it also writes in
  // larger pieces.
  ::posix_fadvise(image.fd(), 0, 0, POSIX_FADV_RANDOM);
  image_ = std::make_unique<MappedFile>(std::move(image));
  slots_ = std::make_unique<MappedFile>(std::move(slots));
  if (empty()) {
    undo_->Start(state().undo_number);
    return Ok();
  }
  SetPageSize(state().page_size);
  page_count_ = state().page_count;
  position_ = state().position;
  TRY(MapImage(page_count_));
  TRY(TakeBack());
  return Prove();
}

// A feed ended behind its last state: the image becomes again what that state says. Being killed here changes nothing.
Status FeedImage::TakeBack() {
  Result<std::vector<UndoLog::Record>> records = undo_->Read(state().undo_number);
  auto fits = [this](const UndoLog::Record& record) {
    return record.pgno.raw() != 0 && record.pgno.raw() <= page_count_ && record.offset <= page_size_ &&
           record.bytes.size() <= page_size_ - record.offset;
  };
  if (!records.ok() || !std::all_of(records->begin(), records->end(), fits)) {
    damaged_ = true;  // by a power loss
    undo_->Start(state().undo_number);
    return Ok();
  }
  for (size_t i = records->size(); i-- > 0;) {
    const UndoLog::Record& record = (*records)[i];
    std::memcpy(ImageAt(record.pgno) + record.offset, record.bytes.data(), record.bytes.size());
    CrashPoint("feed_page_taken_back");
  }
  WriteState(state());
  return Ok();
}

Status FeedImage::Prove() {
  Checksum checksum = Checksum::Empty();
  const uint64_t pages_each = std::max<uint64_t>(1, kProveBytes / page_size_);
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(pages_each * page_size_);
  for (uint32_t n = 1; n <= page_count_;) {
    const uint64_t pages = std::min<uint64_t>(pages_each, page_count_ - n + 1);
    TRY_ASSIGN(size_t got, image_->file().ReadAt(uint64_t{n - 1} * page_size_, {buffer.get(), pages * page_size_}));
    if (got != pages * page_size_) return Error(Errc::kIo, image_->path() + " ends early");
    for (uint64_t i = 0; i < pages; ++i, ++n) {
      if (IsLockPage(Pgno(n))) continue;
      checksum = checksum.Toggle(ltx::PageChecksum(Pgno(n), {buffer.get() + i * page_size_, page_size_}));
    }
  }
  damaged_ = damaged_ || checksum != position_.checksum;
  return Ok();
}

void FeedImage::SetPageSize(PageSize page_size) {
  page_size_ = page_size.raw();
  page_change_.emplace(page_size);
}

Status FeedImage::MapImage(uint32_t page_count) {
  const uint64_t bytes = uint64_t{page_count} * page_size_;
  return bytes <= image_->bytes() ? Ok() : image_->Grow(InSteps(bytes));
}

Status FeedImage::MapSlots(uint64_t slots) {
  if (slots * page_size_ <= slots_->bytes()) return Ok();
  return slots_->Grow(std::max({slots * page_size_, 2 * slots_->bytes(), kSlotsMin * page_size_}));
}

Result<Bytes> FeedImage::Page(Pgno pgno) const {
  if (pgno.raw() == 0 || pgno.raw() > page_count_) return NotInImage(pgno);
  return ImagePage(pgno);
}

Result<Bytes> FeedImage::StagedView::Page(Pgno pgno) const {
  if (pgno.raw() == 0 || pgno.raw() > image_.staged_count_) return NotInImage(pgno);
  uint32_t slot = image_.staged_.Find(pgno);
  if (slot != PageSlots::kNone) return image_.SlotPage(slot);
  return image_.Page(pgno);
}

Status FeedImage::StartImage(PageSize page_size, uint32_t page_count) {
  AbortCommit();
  FeedState none = state();
  none.page_size = PageSize();
  none.page_count = 0;
  none.position = Position();
  none.phase = Phase::kNone;
  WriteState(none);
  TRY(image_->Cut(0));
  TRY(slots_->Cut(0));
  SetPageSize(page_size);
  page_count_ = 0;
  staged_count_ = page_count;
  image_checksum_ = Checksum::Empty();
  damaged_ = false;
  return MapImage(page_count);
}

Status FeedImage::AddImagePage(Pgno pgno, Bytes page) {
  if (pgno.raw() == 0 || pgno.raw() > staged_count_ || page.size() != page_size_) return NotInImage(pgno);
  image_checksum_ = image_checksum_.Toggle(ltx::PageChecksum(pgno, page));
  return image_->file().WriteAt(uint64_t{pgno.raw() - 1} * page_size_, page);
}

Status FeedImage::FinishImage(const FeedState& finished) {
  if (image_checksum_ != finished.position.checksum) {
    return Error(Errc::kCorrupt, "the snapshot has the checksum " + runnel::ToString(image_checksum_) +
                                     ", not that of " + runnel::ToString(finished.position));
  }
  TRY(image_->file().Sync());
  page_count_ = staged_count_;
  position_ = finished.position;
  FeedState state = finished;
  state.page_size = PageSize(static_cast<uint32_t>(page_size_));
  state.page_count = page_count_;
  WriteState(state);
  return state_file_->Sync();
}

Status FeedImage::BeginCommit(uint32_t page_count) {
  AbortCommit();
  staged_count_ = page_count;
  staged_checksum_ = position_.checksum;
  // Pages that the commit cuts off.
  for (uint32_t n = page_count + 1; n <= page_count_; ++n) {
    if (IsLockPage(Pgno(n))) continue;
    TRY_ASSIGN(Bytes page, Page(Pgno(n)));
    staged_checksum_ = staged_checksum_.Toggle(ltx::PageChecksum(Pgno(n), page));
  }
  return Ok();
}

Result<MutableBytes> FeedImage::StagePage(Pgno pgno) {
  if (pgno.raw() == 0 || pgno.raw() > staged_count_) return NotInImage(pgno);
  const uint64_t slot = staged_pages_.size();
  TRY(MapSlots(slot + 1));
  staging_ = pgno;
  // The page before is needed as soon as this one is here, and lies anywhere.
  if (pgno.raw() <= page_count_) Fetch(ImagePage(pgno));
  return MutableBytes(SlotAt(slot), page_size_);
}

Status FeedImage::FinishPage() {
  const Pgno pgno = std::exchange(staging_, Pgno());
  CHECK(pgno != Pgno(), "no page is being staged");
  const uint64_t slot = staged_pages_.size();
  const Bytes page = SlotPage(slot);
  Difference difference{0, page_size_};
  if (pgno.raw() > page_count_ || IsLockPage(pgno)) {
    staged_checksum_ = staged_checksum_.Toggle(ltx::PageChecksum(pgno, page));
  } else {
    const Bytes before = ImagePage(pgno);
    difference = Difference::Of(before, page);
    staged_checksum_ = staged_checksum_.Toggle(page_change_->Of(before, page, difference.begin, difference.end));
  }
  staged_.Put(pgno, static_cast<uint32_t>(slot));
  staged_pages_.push_back(pgno);
  differences_.push_back(difference);
  return Ok();
}

Status FeedImage::AddPage(Pgno pgno, Bytes page) {
  if (page.size() != page_size_) return NotInImage(pgno);
  TRY_ASSIGN(MutableBytes place, StagePage(pgno));
  std::memcpy(place.data(), page.data(), page.size());
  return FinishPage();
}

Status FeedImage::ProveCommit(const Position& after) {
  if (staged_checksum_ != after.checksum) {
    return Error(Errc::kCorrupt, "the image after the commit has the checksum " + runnel::ToString(staged_checksum_) +
                                     ", not that of " + runnel::ToString(after));
  }
  staged_position_ = after;
  TRY(MapImage(staged_count_));
  uint64_t overwritten = 0;
  for (size_t i = 0; i < staged_pages_.size(); ++i) {
    const Difference& difference = differences_[i];
    if (NeedsUndo(staged_pages_[i])) overwritten += UndoLog::RecordBytes(difference.end - difference.begin);
  }
  return undo_->Reserve(overwritten);
}

void FeedImage::AbortCommit() {
  staging_ = Pgno();
  staged_.Clear();
  staged_pages_.clear();
  differences_.clear();
}

// All that will be overwritten is noted first.
void FeedImage::AcceptCommit() {
  for (size_t i = 0; i < staged_pages_.size(); ++i) {
    const Pgno pgno = staged_pages_[i];
    const auto [begin, end] = differences_[i];
    if (begin != end && NeedsUndo(pgno)) undo_->Add(pgno, begin, ImagePage(pgno).subspan(begin, end - begin));
  }
  CrashPoint("feed_undo_written");
  undo_->Publish();
  CrashPoint("feed_undo_published");
  for (size_t i = 0; i < staged_pages_.size(); ++i) {
    const auto [begin, end] = differences_[i];
    std::memcpy(ImageAt(staged_pages_[i]) + begin, SlotAt(i) + begin, end - begin);
    CrashPoint("feed_page_written");
  }
  CrashPoint("feed_commit_accepted");
  waiting_pages_ += staged_pages_.size();
  page_count_ = staged_count_;
  position_ = staged_position_;
  AbortCommit();
}

// What was noted to be taken back belongs to the state before, so none of it counts once this one is written.
void FeedImage::WriteState(FeedState next) {
  next.undo_number = state().undo_number + 1;
  state_file_->Write(next);
  CrashPoint("feed_state_written");
  undo_->Start(next.undo_number);
  waiting_pages_ = 0;
}

Status FeedImage::Persist(FeedState next) {
  CHECK(staged_pages_.empty(), "a commit is being staged");
  next.page_size = PageSize(static_cast<uint32_t>(page_size_));
  next.page_count = page_count_;
  next.position = position_;
  WriteState(next);
  return CutRoom();
}

// The room of a database that has become smaller is given back.
Status FeedImage::CutRoom() {
  const uint64_t needed = InSteps(uint64_t{page_count_} * page_size_);
  return image_->bytes() <= needed + kImageStep ? Ok() : image_->Cut(needed);
}

void FeedImage::Note(FeedState next) {
  const FeedState& now = state();
  next.page_size = now.page_size;
  next.page_count = now.page_count;
  next.position = now.position;
  next.undo_number = now.undo_number;
  state_file_->Write(next);
}

}  // namespace runnel::feed
