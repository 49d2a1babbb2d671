// Owner of one file descriptor, and the few calls on it that must be repeated until they are done.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"

namespace runnel::bus::file {

class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() {
    if (fd_ >= 0) ::close(fd_);
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }

 private:
  int fd_ = -1;
};

// Errors of all: as ErrnoError.

// flags as open(2); O_CLOEXEC is added.
Result<Fd> OpenFile(const std::string& path, int flags);
// Fewer bytes than asked for only at the end of the file.
Result<size_t> ReadAt(const Fd& fd, MutableBytes out, uint64_t offset);
Status WriteAt(const Fd& fd, Bytes bytes, uint64_t offset);
Result<uint64_t> FileBytes(const Fd& fd);
Status SyncData(const Fd& fd);
// DURABLE: the names in the directory.
Status SyncDirectory(const std::string& path);

}  // namespace runnel::bus::file
