#include "bus/file/fd.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <cerrno>

namespace runnel::bus::file {

Result<Fd> OpenFile(const std::string& path, int flags) {
  constexpr mode_t kMode = 0640;
  Fd fd(::open(path.c_str(), flags | O_CLOEXEC, kMode));
  if (!fd.valid()) return ErrnoError(errno, path);
  return fd;
}

Result<size_t> ReadAt(const Fd& fd, MutableBytes out, uint64_t offset) {
  size_t done = 0;
  while (done < out.size()) {
    ssize_t got = ::pread(fd.get(), out.data() + done, out.size() - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return ErrnoError(errno, "read");
    if (got == 0) break;
    done += static_cast<size_t>(got);
  }
  return done;
}

Status WriteAt(const Fd& fd, Bytes bytes, uint64_t offset) {
  size_t done = 0;
  while (done < bytes.size()) {
    ssize_t put = ::pwrite(fd.get(), bytes.data() + done, bytes.size() - done, static_cast<off_t>(offset + done));
    if (put < 0 && errno == EINTR) continue;
    if (put < 0) return ErrnoError(errno, "write");
    done += static_cast<size_t>(put);
  }
  return Ok();
}

Result<uint64_t> FileBytes(const Fd& fd) {
  struct stat status {};
  if (::fstat(fd.get(), &status) != 0) return ErrnoError(errno, "stat");
  return static_cast<uint64_t>(status.st_size);
}

Status SyncData(const Fd& fd) {
  if (::fdatasync(fd.get()) != 0) return ErrnoError(errno, "fdatasync");
  return Ok();
}

Status SyncDirectory(const std::string& path) {
  TRY_ASSIGN(Fd fd, OpenFile(path, O_RDONLY | O_DIRECTORY));
  if (::fsync(fd.get()) != 0) return ErrnoError(errno, path + ": fsync");
  return Ok();
}

}  // namespace runnel::bus::file
