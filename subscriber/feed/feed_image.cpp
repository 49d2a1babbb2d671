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
  image_file_ = std::make_unique<File>(std::move(image));
  redo_file_ = std::make_unique<File>(std::move(redo));
  if (empty()) return Ok();
  page_size_ = state().page_size.raw();
  page_count_ = state().page_count;
  position_ = state().position;
  TRY(Redo());
  TRY(MapImage(page_count_));
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
  TRY(WriteSlots());
  FeedState done = state();
  done.redo_pages = 0;
  state_file_->Write(done);
  return Ok();
}

Status FeedImage::Prove() {
  Checksum checksum = Checksum::Empty();
  PageSize page_size(static_cast<uint32_t>(page_size_));
  for (uint32_t n = 1; n <= page_count_; ++n) {
    if (Pgno(n) == LockPage(page_size)) continue;
    checksum = checksum.Toggle(ltx::PageChecksum(Pgno(n), ImagePage(Pgno(n))));
  }
  damaged_ = damaged_ || checksum != position_.checksum;
  return Ok();
}

Status FeedImage::MapImage(uint32_t page_count) {
  uint64_t bytes = uint64_t{page_count} * page_size_;
  TRY(Allocate(*image_file_, bytes));
  image_pages_ = page_count;
  if (bytes <= image_mapped_) return Ok();
  uint64_t mapped = (bytes + kMapStep - 1) / kMapStep * kMapStep;
  TRY_ASSIGN(image_, Remap(*image_file_, image_, image_mapped_, mapped, PROT_READ));
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
  page_size_ = page_size.raw();
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
  PageSize page_size(static_cast<uint32_t>(page_size_));
  // Pages that the commit cuts off.
  for (uint32_t n = page_count + 1; n <= page_count_; ++n) {
    if (Pgno(n) == LockPage(page_size)) continue;
    TRY_ASSIGN(Bytes page, Page(Pgno(n)));
    staged_checksum_ = staged_checksum_.Toggle(ltx::PageChecksum(Pgno(n), page));
  }
  return Ok();
}

Status FeedImage::AddPage(Pgno pgno, Bytes page) {
  if (pgno.raw() == 0 || pgno.raw() > staged_count_ || page.size() != page_size_) return NotInImage(pgno);
  if (pgno.raw() <= page_count_ && pgno != LockPage(PageSize(static_cast<uint32_t>(page_size_)))) {
    TRY_ASSIGN(Bytes before, Page(pgno));
    staged_checksum_ = staged_checksum_.Toggle(ltx::PageChecksum(pgno, before));
  }
  staged_checksum_ = staged_checksum_.Toggle(ltx::PageChecksum(pgno, page));
  uint64_t slot = slots_used_ + staged_pages_.size();
  if (slot >= PageSlots::kNone) return Error(Errc::kExhausted, "too many pages wait in " + redo_file_->path());
  TRY(GrowRedo(slot + 1));
  StoreBe64(SlotAt(slot), pgno.raw());
  std::memcpy(SlotAt(slot) + kSlotHeadBytes, page.data(), page_size_);
  staged_.Put(pgno, static_cast<uint32_t>(slot));
  staged_pages_.push_back(pgno);
  return Ok();
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

// The newest version of each page, in the order of the file.
Status FeedImage::WriteSlots() {
  std::vector<std::pair<uint32_t, uint32_t>> pages;
  pages.reserve(accepted_.size());
  accepted_.ForEach([&](Pgno pgno, uint32_t slot) {
    if (pgno.raw() <= page_count_) pages.push_back({pgno.raw(), slot});
  });
  std::sort(pages.begin(), pages.end());
  TRY(Allocate(*image_file_, uint64_t{page_count_} * page_size_));
  for (const auto& [pgno, slot] : pages) {
    TRY(image_file_->WriteAt(uint64_t{pgno - 1} * page_size_, SlotPage(slot)));
  }
  accepted_.Clear();
  slots_used_ = 0;
  if (page_count_ < image_pages_) return image_file_->Truncate(uint64_t{page_count_} * page_size_);
  return Ok();
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
  TRY(WriteSlots());
  TRY(MapImage(page_count_));
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
