#include "subscriber/feed/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

namespace runnel::feed {

MappedFile::~MappedFile() {
  if (data_ != nullptr) munmap(data_, bytes_);
}

Status MappedFile::Map(uint64_t bytes) {
  void* mapped = data_ == nullptr ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file_.fd(), 0)
                                  : mremap(data_, bytes_, bytes, MREMAP_MAYMOVE);
  if (mapped == MAP_FAILED) return ErrnoError(errno, "map " + path());
  data_ = static_cast<std::byte*>(mapped);
  bytes_ = bytes;
  return Ok();
}

Status MappedFile::Grow(uint64_t bytes) {
  if (bytes <= bytes_) return Ok();
  TRY_ASSIGN(uint64_t size, file_.Size());
  if (size < bytes) {
    int error = posix_fallocate(file_.fd(), static_cast<off_t>(size), static_cast<off_t>(bytes - size));
    if (error != 0) return ErrnoError(error, "make room in " + path());
  }
  return Map(bytes);
}

Status MappedFile::Cut(uint64_t bytes) {
  if (bytes == 0 && data_ != nullptr) {
    munmap(data_, bytes_);
    data_ = nullptr;
    bytes_ = 0;
  }
  TRY(file_.Truncate(bytes));
  return bytes == bytes_ ? Ok() : Map(bytes);
}

}  // namespace runnel::feed
