#include "subscriber/feed/mapped_file.h"

#include <fcntl.h>
#include <sys/mman.h>

#include <cerrno>

namespace runnel::feed {

Status Allocate(const File& file, uint64_t bytes) {
  TRY_ASSIGN(uint64_t size, file.Size());
  if (size >= bytes) return Ok();
  int error = posix_fallocate(file.fd(), static_cast<off_t>(size), static_cast<off_t>(bytes - size));
  return error == 0 ? Ok() : Status(ErrnoError(error, "make room in " + file.path()));
}

Result<std::byte*> Remap(const File& file, std::byte* old, uint64_t old_bytes, uint64_t bytes) {
  void* mapped = old == nullptr ? mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file.fd(), 0)
                                : mremap(old, old_bytes, bytes, MREMAP_MAYMOVE);
  if (mapped == MAP_FAILED) return ErrnoError(errno, "map " + file.path());
  return static_cast<std::byte*>(mapped);
}

}  // namespace runnel::feed
