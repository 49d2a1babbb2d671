#include "ltx/base/fs.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <memory>

#include <fmt/format.h>

namespace runnel {
namespace {

Error Failed(std::string_view verb, const std::string& path) {
  return ErrnoError(errno, fmt::format("{} {}", verb, path));
}

// In the same directory, so that rename() stays within one file system; the counter keeps two threads apart.
std::string TemporaryName(const std::string& path) {
  static std::atomic<uint64_t> counter{0};
  return fmt::format("{}.tmp-{}-{}", path, ::getpid(), counter.fetch_add(1, std::memory_order_relaxed));
}

// Removes a temporary file unless it was renamed away.
class RemoveOnFailure {
 public:
  explicit RemoveOnFailure(std::string path) : path_(std::move(path)) {}
  ~RemoveOnFailure() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  RemoveOnFailure(const RemoveOnFailure&) = delete;
  RemoveOnFailure& operator=(const RemoveOnFailure&) = delete;
  void Dismiss() { path_.clear(); }

 private:
  std::string path_;
};

}  // namespace

void Fd::Reset() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<File> File::Open(std::string path, int flags, mode_t mode) {
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, mode));
  if (!fd.valid()) return Failed("open", path);
  return File(std::move(fd), std::move(path));
}

Result<File> File::OpenRead(std::string path) { return Open(std::move(path), O_RDONLY, 0); }
Result<File> File::OpenReadWrite(std::string path) { return Open(std::move(path), O_RDWR, 0); }
Result<File> File::OpenOrCreate(std::string path, mode_t mode) { return Open(std::move(path), O_RDWR | O_CREAT, mode); }
Result<File> File::Create(std::string path, mode_t mode) {
  return Open(std::move(path), O_RDWR | O_CREAT | O_EXCL, mode);
}
Result<File> File::CreateOrTruncate(std::string path, mode_t mode) {
  return Open(std::move(path), O_RDWR | O_CREAT | O_TRUNC, mode);
}

Result<size_t> File::ReadAt(uint64_t offset, MutableBytes out) const {
  size_t done = 0;
  while (done < out.size()) {
    ssize_t got = ::pread(fd_.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got == 0) break;
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed("read", path_);
    done += static_cast<size_t>(got);
  }
  return done;
}

Status File::ReadExactAt(uint64_t offset, MutableBytes out) const {
  TRY_ASSIGN(size_t got, ReadAt(offset, out));
  if (got == out.size()) return Ok();
  return Error(Errc::kCorrupt,
               fmt::format("{} ends at byte {}, expected {} bytes from {}", path_, offset + got, out.size(), offset));
}

Status File::WriteAt(uint64_t offset, Bytes bytes) {
  while (!bytes.empty()) {
    ssize_t put = ::pwrite(fd_.get(), bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return Failed("write", path_);
    offset += static_cast<uint64_t>(put);
    bytes = bytes.subspan(static_cast<size_t>(put));
  }
  return Ok();
}

Status File::Append(Bytes bytes) {
  TRY_ASSIGN(uint64_t size, Size());
  return WriteAt(size, bytes);
}

Status File::Truncate(uint64_t size) {
  if (::ftruncate(fd_.get(), static_cast<off_t>(size)) != 0) return Failed("truncate", path_);
  return Ok();
}

Result<uint64_t> File::Size() const {
  struct stat info;
  if (::fstat(fd_.get(), &info) != 0) return Failed("stat", path_);
  return static_cast<uint64_t>(info.st_size);
}

Status File::Sync() {
  if (::fsync(fd_.get()) != 0) return Failed("sync", path_);
  return Ok();
}

Status File::Close() {
  int fd = fd_.Release();
  if (fd >= 0 && ::close(fd) != 0) return Failed("close", path_);
  return Ok();
}

Status WriteFileAtomically(const std::string& path, Bytes bytes, const AtomicWriteOptions& options) {
  std::string temporary = TemporaryName(path);
  TRY_ASSIGN(File file, File::Create(temporary, options.mode));
  RemoveOnFailure remove(temporary);
  if (!options.like.empty()) TRY(CopyOwnerAndMode(options.like, file));
  TRY(file.WriteAt(0, bytes));
  TRY(file.Sync());
  TRY(file.Close());
  if (::rename(temporary.c_str(), path.c_str()) != 0) return Failed("rename to", path);
  remove.Dismiss();
  return SyncDir(DirName(path));
}

Result<std::string> ReadFile(const std::string& path, uint64_t bytes_max) {
  TRY_ASSIGN(File file, File::OpenRead(path));
  std::string text;
  // Not sized by stat: files of /proc say 0, and a file may grow while it is read.
  constexpr size_t kStep = 64 << 10;
  while (text.size() <= bytes_max) {
    size_t start = text.size();
    text.resize(start + kStep);
    TRY_ASSIGN(size_t got, file.ReadAt(start, MutableBytes(reinterpret_cast<std::byte*>(text.data()) + start, kStep)));
    text.resize(start + got);
    if (got < kStep) break;
  }
  if (text.size() > bytes_max)
    return Error(Errc::kExhausted, fmt::format("{} is larger than {} bytes", path, bytes_max));
  return text;
}

Status CreateDirs(const std::string& path, mode_t mode) {
  for (size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    std::string part = path.substr(0, slash);
    if (!part.empty() && ::mkdir(part.c_str(), mode) != 0 && errno != EEXIST) return Failed("make directory", part);
    if (slash == std::string::npos) break;
  }
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return Failed("stat", path);
  if (!S_ISDIR(info.st_mode)) return Error(Errc::kIo, path + " is there and not a directory");
  return Ok();
}

Status RemoveFile(const std::string& path) {
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Failed("remove", path);
  return Ok();
}

Status SyncDir(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return Failed("open directory", path);
  if (::fsync(fd.get()) != 0) return Failed("sync directory", path);
  return Ok();
}

Status RenameFile(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return Failed(fmt::format("rename {} to", from), to);
  return SyncDir(DirName(to));
}

Result<std::vector<std::string>> ListDir(const std::string& path) {
  std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(path.c_str()), &::closedir);
  if (dir == nullptr) return Failed("open directory", path);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* entry = ::readdir(dir.get())) {
    std::string_view name(entry->d_name);
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  if (errno != 0) return Failed("read directory", path);
  std::ranges::sort(names);
  return names;
}

Result<bool> FileExists(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) return true;
  if (errno == ENOENT || errno == ENOTDIR) return false;
  return Failed("stat", path);
}

std::string DirName(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status CopyOwnerAndMode(const std::string& path, const File& file) {
  struct stat like;
  struct stat ours;
  if (::stat(path.c_str(), &like) != 0) return errno == ENOENT ? Ok() : Status(Failed("stat", path));
  if (::fstat(file.fd(), &ours) != 0) return Failed("stat", file.path());
  mode_t mode = like.st_mode & 07777;
  bool same_owner = ours.st_uid == like.st_uid && ours.st_gid == like.st_gid;
  if (!same_owner && ::fchown(file.fd(), like.st_uid, like.st_gid) != 0) {
    if (errno != EPERM) return Failed("change the owner of", file.path());
    if (ours.st_gid != like.st_gid && ::fchown(file.fd(), static_cast<uid_t>(-1), like.st_gid) != 0) mode &= ~070u;
  }
  // After the owner: chown clears set-id bits and, for the mode, only the final owner matters.
  if (::fchmod(file.fd(), mode) != 0) return Failed("change the mode of", file.path());
  return Ok();
}

Result<FileLock> FileLock::Acquire(const std::string& path) {
  TRY_ASSIGN(File file, File::OpenOrCreate(path));
  struct flock whole = {};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (::fcntl(file.fd(), F_OFD_SETLK, &whole) != 0) {
    if (errno != EAGAIN && errno != EACCES) return Failed("lock", path);
    Result<std::string> holder = ReadFile(path, 64);
    std::string pid = holder.ok() ? holder->substr(0, holder->find('\n')) : std::string();
    return Error(Errc::kConflict,
                 fmt::format("{} is held by {}", path, pid.empty() ? "another process" : "process " + pid));
  }
  std::string pid = fmt::format("{}\n", ::getpid());
  TRY(file.Truncate(0));
  TRY(file.WriteAt(0, AsBytes(pid)));
  return FileLock(std::move(file));
}

}  // namespace runnel
