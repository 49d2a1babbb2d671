#include "subscriber/restore/output_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "ltx/base/time.h"

namespace runnel::restore {
namespace {

// So many new bytes are given to the disk at once: while pages are still being decoded, so that the sync at the end
// finds little to do.
constexpr uint64_t kWriteBackBytes = 16 << 20;

std::string TemporaryFor(const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string folder = slash == std::string::npos ? "" : path.substr(0, slash + 1);
  const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
  return folder + "." + name + ".restore-" + std::to_string(::getpid());
}

}  // namespace

Status CheckOutput(const std::string& path, bool replace) {
  struct stat info {};
  if (::stat(DirName(path).c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
    return Error(Errc::kInvalid, path + ": there is no directory " + DirName(path) + "; make it first");
  }
  const bool there = ::lstat(path.c_str(), &info) == 0;
  if (there && !S_ISREG(info.st_mode)) return Error(Errc::kInvalid, path + " is not a file; give another output");
  if (there && !replace) {
    return Error(Errc::kRefused, path + " exists; give another output, or replace it with --force");
  }
  for (const char* suffix : {"-wal", "-journal", "-shm"}) {
    if (::lstat((path + suffix).c_str(), &info) != 0) continue;
    return Error(Errc::kRefused, path + suffix +
                                     " exists: SQLite would apply it to the restored database, or a program "
                                     "has the old one open; stop that program, move the file away, and restore again");
  }
  return Ok();
}

OutputFile::OutputFile(std::string path, std::string temporary, File file)
    : path_(std::move(path)), temporary_(std::move(temporary)), file_(std::move(file)) {
  write_back_ = std::jthread([this](std::stop_token stop) { WriteBack(std::move(stop)); });
}

Result<std::unique_ptr<OutputFile>> OutputFile::Create(const std::string& path) {
  std::string temporary = TemporaryFor(path);
  TRY_ASSIGN(File file, File::CreateOrTruncate(temporary, 0666));
  return std::unique_ptr<OutputFile>(new OutputFile(path, std::move(temporary), std::move(file)));  // private
}

OutputFile::~OutputFile() {
  write_back_.request_stop();
  write_back_.join();
  if (!finished_) ::unlink(temporary_.c_str());
}

void OutputFile::WriteBack(std::stop_token stop) {
  uint64_t begun = 0;
  while (true) {
    {
      MutexLock lock(mutex_);
      while (written_.load() < begun + kWriteBackBytes) {
        if (!wake_.WaitUntil(mutex_, stop, NoDeadline())) return;
      }
    }
    begun = written_.load();
    // Only begins to write; an error is kept by the kernel for the sync.
    ::sync_file_range(file_.fd(), 0, 0, SYNC_FILE_RANGE_WRITE);
  }
}

Status OutputFile::Start(PageSize page_size, uint32_t page_count) {
  page_size_ = page_size;
  const uint64_t bytes = uint64_t{page_count} * page_size.raw();
  const int failed = ::posix_fallocate(file_.fd(), 0, static_cast<off_t>(bytes));
  if (failed == 0) return Ok();
  if (failed == EOPNOTSUPP || failed == EINVAL) return file_.Truncate(bytes);
  return ErrnoError(failed, path_ + ": no room for a database of " + std::to_string(bytes) + " bytes");
}

Status OutputFile::Write(Pgno first, Bytes pages) {
  TRY(file_.WriteAt(uint64_t{first.raw() - 1} * page_size_.raw(), pages));
  const uint64_t before = written_.fetch_add(pages.size());
  if (before / kWriteBackBytes == (before + pages.size()) / kWriteBackBytes) return Ok();
  { MutexLock lock(mutex_); }  // or the write-back thread could miss the call between its look and its sleep
  wake_.NotifyOne();
  return Ok();
}

Status OutputFile::SetPageCount(uint32_t page_count) { return file_.Truncate(uint64_t{page_count} * page_size_.raw()); }

Status OutputFile::Finish(bool replace) {
  TRY(file_.Sync());
  if (replace) {
    TRY(CopyOwnerAndMode(path_, file_));
    TRY(CheckOutput(path_, true));
    TRY(RenameFile(temporary_, path_));
  } else {
    if (::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), RENAME_NOREPLACE) != 0) {
      if (errno == EEXIST) return Error(Errc::kRefused, path_ + " has appeared meanwhile; it is left as it is");
      if (errno != EINVAL && errno != ENOSYS) return ErrnoError(errno, path_);
      TRY(CheckOutput(path_, false));  // a file system without that promise
      TRY(RenameFile(temporary_, path_));
    }
    TRY(SyncDir(DirName(path_)));
  }
  finished_ = true;
  return Ok();
}

}  // namespace runnel::restore
