#include "tools/file_stream.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

namespace runnel::tools {
namespace {

constexpr size_t kBufferBytes = 1 << 20;

}  // namespace

Result<std::unique_ptr<FileSource>> FileSource::Open(const std::string& path) {
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return ErrnoError(errno, path);
  return std::unique_ptr<FileSource>(new FileSource(fd));  // private constructor
}

FileSource::~FileSource() { ::close(fd_); }

Result<size_t> FileSource::Read(MutableBytes out) {
  ssize_t got = ::read(fd_, out.data(), out.size());
  if (got < 0) return ErrnoError(errno, "read");
  bytes_read_ += static_cast<uint64_t>(got);
  return static_cast<size_t>(got);
}

Result<std::unique_ptr<FileSink>> FileSink::Create(const std::string& path) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return ErrnoError(errno, path);
  return std::unique_ptr<FileSink>(new FileSink(fd));  // private constructor
}

FileSink::~FileSink() {
  if (fd_ >= 0) ::close(fd_);
}

Status FileSink::Write(Bytes bytes) {
  buffer_.append(AsText(bytes));
  return buffer_.size() >= kBufferBytes ? FlushBuffer() : Ok();
}

Status FileSink::FlushBuffer() {
  Bytes rest = AsBytes(buffer_);
  while (!rest.empty()) {
    ssize_t written = ::write(fd_, rest.data(), rest.size());
    if (written < 0) return ErrnoError(errno, "write");
    rest = rest.subspan(static_cast<size_t>(written));
  }
  buffer_.clear();
  return Ok();
}

Status FileSink::Close() {
  TRY(FlushBuffer());
  if (::fsync(fd_) != 0) return ErrnoError(errno, "fsync");
  ::close(fd_);
  fd_ = -1;
  return Ok();
}

}  // namespace runnel::tools
