#include "subscriber/replica/side_files.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "ltx/base/check.h"

namespace runnel::replica {
namespace {

std::string ReadPid(int fd) {
  char text[32];
  ssize_t got = ::pread(fd, text, sizeof text, 0);
  std::string pid(text, got > 0 ? static_cast<size_t>(got) : 0);
  while (!pid.empty() && pid.back() == '\n') pid.pop_back();
  return pid.empty() ? "unknown" : pid;
}

Status MakeDirectory(const std::string& replica_path, const std::string& directory) {
  struct stat model {};
  mode_t mode = 0755;
  if (::stat(replica_path.c_str(), &model) == 0) {
    // Who may read the replica may enter.
    mode = (model.st_mode & 0666) | (model.st_mode & 0444) >> 2;
    mode |= 0700;
  }
  if (::mkdir(directory.c_str(), mode) != 0 && errno != EEXIST) return ErrnoError(errno, directory);
  return Ok();
}

}  // namespace

Result<std::unique_ptr<SideFiles>> SideFiles::Lock(const std::string& replica_path) {
  std::string directory = replica_path + "-runnel";
  TRY(MakeDirectory(replica_path, directory));
  std::unique_ptr<SideFiles> files(new SideFiles(directory));  // private constructor
  std::string lock_path = directory + "/lock";
  int fd = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return ErrnoError(errno, lock_path);
  files->lock_fd_ = fd;
  // flock, not fcntl: it belongs to this descriptor, so a second attach within one process is refused too.
  if (::flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoError(errno, lock_path);
    return Error(Errc::kRefused, replica_path + ": is kept by another subscriber, process " + ReadPid(fd));
  }
  std::string pid = std::to_string(::getpid()) + "\n";
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, pid.data(), pid.size(), 0) != static_cast<ssize_t>(pid.size())) {
    return ErrnoError(errno, lock_path);
  }
  return files;
}

SideFiles::~SideFiles() {
  if (lock_fd_ >= 0) ::close(lock_fd_);
}

void SideFiles::MatchOwner(const std::string& model_path) const {
  struct stat model {};
  if (::stat(model_path.c_str(), &model) != 0) return;
  for (const std::string& path : {directory_ + "/lock", position(), pages()}) {
    ::chmod(path.c_str(), model.st_mode & 0666);
    if (::chown(path.c_str(), model.st_uid, model.st_gid) != 0) {
      continue;  // only root may give files away; the mode alone is what others need then
    }
  }
  if (::chown(directory_.c_str(), model.st_uid, model.st_gid) != 0) return;
}

std::string DirectoryOf(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

Status SyncDirectory(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return ErrnoError(errno, path);
  int rc = ::fsync(fd);
  int err = errno;
  ::close(fd);
  return rc == 0 ? Ok() : Status(ErrnoError(err, path));
}

}  // namespace runnel::replica
