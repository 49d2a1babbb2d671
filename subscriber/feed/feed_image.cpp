#include "subscriber/feed/feed_image.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "ltx/base/bytes.h"
#include "ltx/base/check.h"
#include "ltx/format/checksum.h"

namespace runnel::feed {
namespace {

constexpr uint64_t kRedoSlotsMin = 64;
constexpr uint64_t kMapStep = 1 << 20;
constexpr size_t kProveBytes = 256 << 10;
constexpr size_t kCacheLineBytes = 64;
// In the head of a slot, behind the page number: which bytes differ from the image.
constexpr size_t kDifferenceOffset = 8;
// So many pages ahead memory is asked for what will be written.
constexpr size_t kWritesAhead = 8;

// Asks for memory that is needed soon.
void Fetch(const std::byte* from, size_t size) {
  for (size_t i = 0; i < size; i += kCacheLineBytes) __builtin_prefetch(from + i);
}

// Room on disk, so that a full disk is an error here and not a signal at the first touch of a mapped page.
Status Allocate(const File& file, uint64_t bytes) {
  TRY_ASSIGN(uint64_t size, file.Size());
  if (size >= bytes) return Ok();
  int error = posix_fallocate(file.fd(), static_cast<off_t>(size), static_cast<off_t>(bytes - size));
  return error == 0 ? Ok() : Status(ErrnoError(error, "make room in " + file.path()));
}

Result<std::byte*> Remap(const File& file, std::byte* old, uint64_t old_bytes, uint64_t bytes, int protection) {
  void* mapped = old == nullptr ? mmap(nullptr, bytes, protection, MAP_SHARED, file.fd(), 0)
                                : mremap(old, old_bytes, bytes, MREMAP_MAYMOVE);
  if (mapped == MAP_FAILED) return ErrnoError(errno, "map " + file.path());
  return static_cast<std::byte*>(mapped);
}

Error NotInImage(Pgno pgno) {
  return Error(Errc::kCorrupt, "page " + std::to_string(pgno.raw()) + ": not in the image");
}

}  // namespace

FeedImage::FeedImage(std::string dir, FileLock lock, std::unique_ptr<StateFile> state)
    : dir_(std::move(dir)), lock_(std::move(lock)), state_file_(std::move(state)) {}

FeedImage::~FeedImage() {
  if (image_ != nullptr) munmap(image_, image_mapped_);
  if (redo_ != nullptr) munmap(redo_, redo_slots_ * SlotBytes());
}

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
  TRY_ASSIGN(File redo, File::OpenOrCreate(dir_ + "/redo", 0600));
  // Pages are read and written one by one, all over the file; what the kernel caches in larger pieces it also writes in
  // larger pieces.
  ::posix_fadvise(image.fd(), 0, 0, POSIX_FADV_RANDOM);
  image_file_ = std::make_unique<File>(std::move(image));
  redo_file_ = std::make_unique<File>(std::move(redo));
  if (empty()) return Ok();
  SetPageSize(state().page_size);
  page_count_ = state().page_count;
  position_ = state().position;
  TRY(MapImage(page_count_));
  TRY(Redo());
  return Prove();
}

// A feed was killed between saying that accepted pages belong to the image and having written them all.
Status FeedImage::Redo() {
  uint64_t pages = state().redo_pages;
  if (pages == 0) return Ok();
  TRY_ASSIGN(uint64_t size, redo_file_->Size());
  if (size < pages * SlotBytes()) {
    damaged_ = true;
    return Ok();
  }
  TRY(GrowRedo(pages));
  slots_used_ = pages;
  for (uint64_t slot = 0; slot < pages; ++slot) {
    Pgno pgno(static_cast<uint32_t>(LoadBe64(SlotAt(slot))));
    if (pgno.raw() != 0) accepted_.Put(pgno, static_cast<uint32_t>(slot));
  }
  TRY(WriteSlots(Part::kWhole));
  FeedState done = state();
  done.redo_pages = 0;
  state_file_->Write(done);
  return Ok();
}

Status FeedImage::Prove() {
  Checksum checksum = Checksum::Empty();
  const uint64_t pages_each = std::max<uint64_t>(1, kProveBytes / page_size_);
  auto buffer = std::make_unique_for_overwrite<std::byte[]>(pages_each * page_size_);
  for (uint32_t n = 1; n <= page_count_;) {
    const uint64_t pages = std::min<uint64_t>(pages_each, page_count_ - n + 1);
    TRY_ASSIGN(size_t got, image_file_->ReadAt(uint64_t{n - 1} * page_size_, {buffer.get(), pages * page_size_}));
    if (got != pages * page_size_) return Error(Errc::kIo, image_file_->path() + " ends early");
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
  uint64_t bytes = uint64_t{page_count} * page_size_;
  TRY(Allocate(*image_file_, bytes));
  image_pages_ = page_count;
  if (bytes <= image_mapped_) return Ok();
  uint64_t mapped = (bytes + kMapStep - 1) / kMapStep * kMapStep;
  TRY_ASSIGN(image_, Remap(*image_file_, image_, image_mapped_, mapped, PROT_READ | PROT_WRITE));
  image_mapped_ = mapped;
  return Ok();
}

Status FeedImage::GrowRedo(uint64_t slots) {
  if (slots <= redo_slots_) return Ok();
  uint64_t grown = std::max({slots, redo_slots_ * 2, kRedoSlotsMin});
  TRY(Allocate(*redo_file_, grown * SlotBytes()));
  TRY_ASSIGN(redo_, Remap(*redo_file_, redo_, redo_slots_ * SlotBytes(), grown * SlotBytes(), PROT_READ | PROT_WRITE));
  redo_slots_ = grown;
  return Ok();
}

Result<Bytes> FeedImage::Page(Pgno pgno) const {
  if (pgno.raw() == 0 || pgno.raw() > page_count_) return NotInImage(pgno);
  uint32_t slot = accepted_.Find(pgno);
  if (slot != PageSlots::kNone) return SlotPage(slot);
  if (pgno.raw() > image_pages_) return NotInImage(pgno);
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
  accepted_.Clear();
  slots_used_ = 0;
  FeedState none = state();
  none.page_size = PageSize();
  none.page_count = 0;
  none.redo_pages = 0;
  none.position = Position();
  none.phase = Phase::kNone;
  state_file_->Write(none);
  if (image_ != nullptr) munmap(image_, image_mapped_);
  if (redo_ != nullptr) munmap(redo_, redo_slots_ * SlotBytes());
  image_ = redo_ = nullptr;
  image_mapped_ = redo_slots_ = 0;
  TRY(image_file_->Truncate(0));
  TRY(redo_file_->Truncate(0));
  SetPageSize(page_size);
  page_count_ = page_count;
  image_checksum_ = Checksum::Empty();
  damaged_ = false;
  return Allocate(*image_file_, uint64_t{page_count} * page_size_);
}

Status FeedImage::AddImagePage(Pgno pgno, Bytes page) {
  if (pgno.raw() == 0 || pgno.raw() > page_count_ || page.size() != page_size_) return NotInImage(pgno);
  image_checksum_ = image_checksum_.Toggle(ltx::PageChecksum(pgno, page));
  return image_file_->WriteAt(uint64_t{pgno.raw() - 1} * page_size_, page);
}

Status FeedImage::FinishImage(const FeedState& finished) {
  if (image_checksum_ != finished.position.checksum) {
    return Error(Errc::kCorrupt, "the snapshot has the checksum " + runnel::ToString(image_checksum_) +
                                     ", not that of " + runnel::ToString(finished.position));
  }
  TRY(MapImage(page_count_));
  TRY(image_file_->Sync());
  position_ = finished.position;
  FeedState state = finished;
  state.page_size = PageSize(static_cast<uint32_t>(page_size_));
  state.page_count = page_count_;
  state.redo_pages = 0;
  state_file_->Write(state);
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
  uint64_t slot = slots_used_ + staged_pages_.size();
  if (slot >= PageSlots::kNone) return Error(Errc::kExhausted, "too many pages wait in " + redo_file_->path());
  TRY(GrowRedo(slot + 1));
  staging_ = pgno;
  // The page before is needed as soon as this one is here, and lies anywhere.
  if (pgno.raw() <= page_count_) {
    TRY_ASSIGN(Bytes before, Page(pgno));
    Fetch(before.data(), before.size());
  }
  return MutableBytes(SlotAt(slot) + kSlotHeadBytes, page_size_);
}

Status FeedImage::FinishPage() {
  const Pgno pgno = std::exchange(staging_, Pgno());
  CHECK(pgno != Pgno(), "no page is being staged");
  const uint64_t slot = slots_used_ + staged_pages_.size();
  const Bytes page = SlotPage(slot);
  Difference difference{0, page_size_};
  if (pgno.raw() > page_count_ || IsLockPage(pgno)) {
    staged_checksum_ = staged_checksum_.Toggle(ltx::PageChecksum(pgno, page));
  } else {
    TRY_ASSIGN(Bytes before, Page(pgno));
    difference = Difference::Of(before, page);
    staged_checksum_ = staged_checksum_.Toggle(page_change_->Of(before, page, difference.begin, difference.end));
    // The page before may itself differ from what the image's file holds.
    if (uint32_t earlier = accepted_.Find(pgno); earlier != PageSlots::kNone) difference.Add(NotedDifference(earlier));
  }
  StoreBe64(SlotAt(slot), pgno.raw());
  StoreBe32(SlotAt(slot) + kDifferenceOffset, static_cast<uint32_t>(difference.begin));
  StoreBe32(SlotAt(slot) + kDifferenceOffset + 4, static_cast<uint32_t>(difference.end));
  staged_.Put(pgno, static_cast<uint32_t>(slot));
  staged_pages_.push_back(pgno);
  return Ok();
}

Difference FeedImage::NotedDifference(uint64_t slot) const {
  const std::byte* noted = SlotAt(slot) + kDifferenceOffset;
  return {LoadBe32(noted), LoadBe32(noted + 4)};
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
  return Ok();
}

void FeedImage::AbortCommit() {
  staging_ = Pgno();
  staged_.Clear();
  staged_pages_.clear();
}

void FeedImage::AcceptCommit() {
  for (size_t i = 0; i < staged_pages_.size(); ++i) {
    accepted_.Put(staged_pages_[i], static_cast<uint32_t>(slots_used_ + i));
  }
  slots_used_ += staged_pages_.size();
  page_count_ = staged_count_;
  position_ = staged_position_;
  AbortCommit();
}

// The newest version of each page, in the order of the file. Through the mapping: a page that many flushes change is
// written to by the kernel's clock, not by ours.
Status FeedImage::WriteSlots(Part part) {
  std::vector<std::pair<uint32_t, uint32_t>> pages;
  pages.reserve(accepted_.size());
  accepted_.ForEach([&](Pgno pgno, uint32_t slot) {
    if (pgno.raw() <= page_count_) pages.push_back({pgno.raw(), slot});
  });
  std::sort(pages.begin(), pages.end());
  TRY(MapImage(page_count_));
  auto difference_at = [&](size_t i) {
    return part == Part::kWhole ? Difference{0, page_size_} : NotedDifference(pages[i].second);
  };
  for (size_t i = 0; i < pages.size(); ++i) {
    if (i + kWritesAhead < pages.size()) {
      const Difference ahead = difference_at(i + kWritesAhead);
      Fetch(ImageAt(Pgno(pages[i + kWritesAhead].first)) + ahead.begin, ahead.end - ahead.begin);
    }
    const Difference difference = difference_at(i);
    std::memcpy(ImageAt(Pgno(pages[i].first)) + difference.begin, SlotPage(pages[i].second).data() + difference.begin,
                difference.end - difference.begin);
  }
  accepted_.Clear();
  slots_used_ = 0;
  const uint64_t bytes = uint64_t{page_count_} * page_size_;
  TRY_ASSIGN(uint64_t size, image_file_->Size());
  return size > bytes ? image_file_->Truncate(bytes) : Ok();
}

Status FeedImage::Persist(FeedState next) {
  CHECK(staged_pages_.empty(), "a commit is being staged");
  next.page_size = PageSize(static_cast<uint32_t>(page_size_));
  next.page_count = page_count_;
  next.position = position_;
  next.redo_pages = slots_used_;
  // From here on a restart takes the redo pages as part of the image.
  state_file_->Write(next);
  if (slots_used_ == 0) return Ok();
  TRY(WriteSlots(Part::kDifference));
  next.redo_pages = 0;
  state_file_->Write(next);
  return Ok();
}

void FeedImage::Note(FeedState next) {
  const FeedState& now = state();
  next.page_size = now.page_size;
  next.page_count = now.page_count;
  next.position = now.position;
  next.redo_pages = now.redo_pages;
  state_file_->Write(next);
}

Status FeedImage::Sync() {
  TRY(image_file_->Sync());
  return state_file_->Sync();
}

}  // namespace runnel::feed
