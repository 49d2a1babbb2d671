#include "subscriber/replica/image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "ltx/base/check.h"
#include "ltx/base/crash_point.h"
#include "ltx/format/checksum.h"
#include "subscriber/replica/exclusive_file.h"

namespace runnel::replica {
namespace {

constexpr size_t kWriteBytes = 1 << 20;
constexpr size_t kHeaderBytes = 100;

Status WriteAll(int fd, Bytes bytes, uint64_t offset, const std::string& path) {
  while (!bytes.empty()) {
    ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return ErrnoError(written < 0 ? errno : ENOSPC, path);
    bytes = bytes.subspan(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return Ok();
}

// A bootstrap was announced and not finished: the user had already agreed to what it replaces.
bool BootstrapPending(const std::string& position_path) {
  Result<std::unique_ptr<PositionFile>> position = PositionFile::Open(position_path);
  return position.ok() && (*position)->record().bootstrap;
}

}  // namespace

Result<std::unique_ptr<ReplicaImage>> ReplicaImage::Create(const ImageOptions& options) {
  if (!PageSize::IsValid(options.page_size.raw())) {
    return Error(Errc::kInvalid, "page size " + std::to_string(options.page_size.raw()) + " is impossible");
  }
  TRY_ASSIGN(std::unique_ptr<SideFiles> side, SideFiles::Lock(options.path));
  if (!options.replace && StampOf(options.path).known() && !BootstrapPending(side->position())) {
    return Error(
        Errc::kRefused,
        options.path +
            ": a file that is not our replica is there already; move it away, or have it replaced with --force");
  }
  std::unique_ptr<ReplicaImage> image(new ReplicaImage(options, std::move(side)));  // private constructor
  TRY(image->Open());
  return image;
}

Status ReplicaImage::Open() {
  fd_ = ::open(side_->new_image().c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd_ < 0) return ErrnoError(errno, side_->new_image());
  struct stat old {};
  bool replaces = ::stat(options_.path.c_str(), &old) == 0;
  if (replaces && ::fchown(fd_, old.st_uid, old.st_gid) != 0 && errno != EPERM) return ErrnoError(errno, options_.path);
  std::optional<mode_t> mode = options_.mode;
  if (!mode && replaces) mode = old.st_mode & 0777;
  if (mode && ::fchmod(fd_, *mode) != 0) return ErrnoError(errno, side_->new_image());
  TRY_ASSIGN(table_, ltx::PageTable::Create(side_->new_pages(), options_.page_size));
  buffer_.reserve(kWriteBytes);
  return Ok();
}

ReplicaImage::~ReplicaImage() {
  if (fd_ >= 0) ::close(fd_);
}

Status ReplicaImage::WriteBuffered() {
  TRY(WriteAll(fd_, buffer_, buffer_offset_, side_->new_image()));
  buffer_offset_ += buffer_.size();
  buffer_.clear();
  return Ok();
}

Status ReplicaImage::AddPage(Pgno pgno, Bytes page) {
  Pgno lock_page = LockPage(options_.page_size);
  if (next_pgno_ == lock_page.raw()) {  // stays a hole
    TRY(WriteBuffered());
    buffer_offset_ += options_.page_size.raw();
    ++next_pgno_;
  }
  if (pgno.raw() != next_pgno_ || page.size() != options_.page_size.raw()) {
    return Error(Errc::kCorrupt, "image has page " + std::to_string(pgno.raw()) + " of " + std::to_string(page.size()) +
                                     " bytes where page " + std::to_string(next_pgno_) + " belongs");
  }
  if (pgno.raw() == 1) header_.assign(page.begin(), page.begin() + kHeaderBytes);
  if (buffer_.size() + page.size() > kWriteBytes) TRY(WriteBuffered());
  buffer_.insert(buffer_.end(), page.begin(), page.end());
  Checksum checksum = ltx::PageChecksum(pgno, page);
  sum_ = sum_.Toggle(checksum);
  TRY(table_->Reserve(pgno));
  // Which commit changed a page last is not known here; 0 says so.
  table_->Set(pgno, checksum, Txid(0));
  ++next_pgno_;
  return Ok();
}

Status ReplicaImage::WritePages(Pgno first, Bytes pages) {
  return WriteAll(fd_, pages, uint64_t{first.raw() - 1} * options_.page_size.raw(), side_->new_image());
}

Status ReplicaImage::SetChecksums(std::span<const Checksum> checksums) {
  const Pgno lock_page = LockPage(options_.page_size);
  TRY(table_->Reserve(Pgno(static_cast<uint32_t>(std::max<size_t>(checksums.size(), 1)))));
  for (const Checksum checksum : checksums) {
    const Pgno pgno(next_pgno_++);
    if (pgno == lock_page) continue;
    sum_ = sum_.Toggle(checksum);
    table_->Set(pgno, checksum, Txid(0));
  }
  header_.resize(kHeaderBytes);
  const ssize_t got = ::pread(fd_, header_.data(), header_.size(), 0);
  if (got < 0) return ErrnoError(errno, side_->new_image());
  return static_cast<size_t>(got) == header_.size() ? Ok() : Status(Error(Errc::kCorrupt, "image has no first page"));
}

Status ReplicaImage::CheckComplete(const Final& final) const {
  uint32_t pages = next_pgno_ - 1;
  // A database may end with the lock page.
  bool ends_at_lock_page = final.page_count == LockPage(options_.page_size).raw() && pages + 1 == final.page_count;
  if (pages == 0 || (pages != final.page_count && !ends_at_lock_page)) {
    return Error(Errc::kCorrupt,
                 "image has " + std::to_string(pages) + " pages of " + std::to_string(final.page_count));
  }
  if (sum_ != final.position.checksum) {
    return Error(Errc::kCorrupt, "image has checksum " + ToString(sum_) + ", not that of " + ToString(final.position));
  }
  return CheckHeader();
}

Status ReplicaImage::CheckHeader() const {
  uint32_t page_size = LoadBe16(header_.data() + 16);
  if (page_size == 1) page_size = 65536;
  if (AsText(Bytes(header_).first(16)) != std::string_view("SQLite format 3\0", 16) ||
      page_size != options_.page_size.raw()) {
    return Error(Errc::kCorrupt,
                 "image is not a SQLite database with pages of " + std::to_string(options_.page_size.raw()) + " bytes");
  }
  if (std::to_integer<int>(header_[18]) != 2 || std::to_integer<int>(header_[19]) != 2) {
    return Error(Errc::kUnsupported, "image is in rollback-journal mode; its source must be in WAL mode");
  }
  return Ok();
}

Status ReplicaImage::SyncImage() {
  TRY(WriteBuffered());
  // Also makes the file long enough when it ends with the lock page's hole.
  off_t bytes = static_cast<off_t>(uint64_t{table_->page_count()} * options_.page_size.raw());
  if (::ftruncate(fd_, bytes) != 0 || ::fsync(fd_) != 0) return ErrnoError(errno, side_->new_image());
  CrashPoint("bootstrap_image_synced");
  return Ok();
}

Status ReplicaImage::Finish(const Final& final) {
  TRY(CheckComplete(final));
  TRY(table_->Reserve(Pgno(final.page_count)));  // the lock page has no AddPage
  table_->SetPosition(final.position, final.page_count);
  TRY(SyncImage());
  TRY(table_->Sync());
  return PutInPlace(final);
}

// The position file says "pending" while the image changes its place. Attach then asks the image itself what it is.
Status ReplicaImage::PutInPlace(const Final& final) {
  // Held over the renames: nobody may open the old file and pair it with the new one's WAL.
  TRY_ASSIGN(std::unique_ptr<ExclusiveFile> old, ExclusiveFile::Take(options_.path));
  PositionRecord record;
  record.bootstrap = true;
  record.page_size = options_.page_size;
  record.boot = CurrentBoot();
  record.durable = final.position;
  record.lo = {final.lineage, final.position, final.page_count, final.log_sequence, WalIdentity()};
  record.hi = record.lo;
  TRY_ASSIGN(std::unique_ptr<PositionFile> position, PositionFile::Create(side_->position(), record));
  if (std::rename(side_->new_pages().c_str(), side_->pages().c_str()) != 0) return ErrnoError(errno, side_->pages());
  std::string directory = DirectoryOf(side_->position());
  TRY(SyncDirectory(directory));
  TRY(SyncDirectory(DirectoryOf(directory)));
  CrashPoint("bootstrap_position_pending");
  TRY(ExclusiveFile::RemoveWal(options_.path));
  if (std::rename(side_->new_image().c_str(), options_.path.c_str()) != 0) return ErrnoError(errno, options_.path);
  TRY(SyncDirectory(DirectoryOf(options_.path)));
  CrashPoint("bootstrap_renamed");
  record.bootstrap = false;
  record.clean = true;
  record.stamp = StampOf(options_.path);
  position->Write(record);
  side_->MatchOwner(options_.path);
  return position->Sync();
}

}  // namespace runnel::replica
