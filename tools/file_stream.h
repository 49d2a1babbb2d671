// Files as the codec's byte streams, buffered.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "ltx/format/encoder.h"

namespace runnel::tools {

class FileSource : public ltx::ByteSource {
 public:
  static Result<std::unique_ptr<FileSource>> Open(const std::string& path);
  ~FileSource() override;
  FileSource(const FileSource&) = delete;
  FileSource& operator=(const FileSource&) = delete;
  Result<size_t> Read(MutableBytes out) override;
  uint64_t bytes_read() const { return bytes_read_; }

 private:
  explicit FileSource(int fd) : fd_(fd) {}
  int fd_;
  uint64_t bytes_read_ = 0;
};

class FileSink : public ltx::ByteSink {
 public:
  static Result<std::unique_ptr<FileSink>> Create(const std::string& path);
  ~FileSink() override;
  FileSink(const FileSink&) = delete;
  FileSink& operator=(const FileSink&) = delete;
  Status Write(Bytes bytes) override;
  // DURABLE: everything written.
  Status Close();

 private:
  explicit FileSink(int fd) : fd_(fd) {}
  Status FlushBuffer();
  int fd_;
  std::string buffer_;
};

}  // namespace runnel::tools
