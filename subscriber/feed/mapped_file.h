// A file of the feed's directory that is read and written through memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>

#include "ltx/base/fs.h"
#include "ltx/base/result.h"

namespace runnel::feed {

// THREAD: one.
class MappedFile {
 public:
  // Nothing is mapped yet.
  explicit MappedFile(File file) : file_(std::move(file)) {}
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // LIFETIME: until the next call that is not const.
  std::byte* data() const { return data_; }
  // That are mapped.
  uint64_t bytes() const { return bytes_; }
  File& file() { return file_; }
  const std::string& path() const { return file_.path(); }

  // At least so many bytes are mapped and have room on disk: a full disk is an error here, and not a signal at the
  // first touch of a page. Errors: kIo, kExhausted.
  Status Grow(uint64_t bytes);
  // The file has so many bytes. REQUIRES: not more than are mapped. Errors: kIo.
  Status Cut(uint64_t bytes);

 private:
  Status Map(uint64_t bytes);

  File file_;
  std::byte* data_ = nullptr;
  uint64_t bytes_ = 0;
};

}  // namespace runnel::feed
