// Files: owned descriptors, whole reads and writes, replacement without a half-written moment, locks between processes.
//
// Errors everywhere: kNotFound (no such file), kExhausted (disk or quota full), kIo (the operating system's sentence
// with the path). After a failed write or sync a File is not to be used further: what is on disk is unknown.
//
// SQLite's files are never opened here while SQLite has them open in this process: closing our descriptor would drop
// the POSIX locks SQLite holds on the same file.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"

namespace runnel {

// Owns a descriptor; -1 is none.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() { Reset(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    if (this != &other) {
      Reset();
      fd_ = std::exchange(other.fd_, -1);
    }
    return *this;
  }

  int get() const { return fd_; }
  bool valid() const { return fd_ >= 0; }
  int Release() { return std::exchange(fd_, -1); }
  void Reset();

 private:
  int fd_ = -1;
};

// An open file and its path. ReadAt and WriteAt from any thread; the rest one thread.
class File {
 public:
  static Result<File> OpenRead(std::string path);
  static Result<File> OpenReadWrite(std::string path);                     // must exist
  static Result<File> OpenOrCreate(std::string path, mode_t mode = 0644);  // keeps what is there
  static Result<File> Create(std::string path, mode_t mode = 0644);        // must not exist
  static Result<File> CreateOrTruncate(std::string path, mode_t mode = 0644);

  // Reads up to out.size() bytes; fewer only at the end of the file.
  Result<size_t> ReadAt(uint64_t offset, MutableBytes out) const;
  // Fills `out`; kCorrupt when the file ends before.
  Status ReadExactAt(uint64_t offset, MutableBytes out) const;
  Status WriteAt(uint64_t offset, Bytes bytes);
  // Writes at the end. REQUIRES: nobody else appends.
  Status Append(Bytes bytes);
  Status Truncate(uint64_t size);
  Result<uint64_t> Size() const;
  // DURABLE: all bytes written so far, and the size.
  Status Sync();
  // DURABLE: nothing; reports what close() says, which a destructor cannot.
  Status Close();

  int fd() const { return fd_.get(); }
  const std::string& path() const { return path_; }

 private:
  File(Fd fd, std::string path) : fd_(std::move(fd)), path_(std::move(path)) {}
  static Result<File> Open(std::string path, int flags, mode_t mode);

  Fd fd_;
  std::string path_;
};

struct AtomicWriteOptions {
  mode_t mode = 0644;  // of a new file, under the umask
  std::string like;    // owner and mode are taken from this file if it is given and exists
};

// Replaces `path` by these bytes: readers see the old or the new file, never a part.
// DURABLE: the new file under its name (temporary file in the same directory, fsync, rename, fsync of the directory).
Status WriteFileAtomically(const std::string& path, Bytes bytes, const AtomicWriteOptions& options = {});

// The whole file. Errors: kExhausted when it is larger than `bytes_max`.
Result<std::string> ReadFile(const std::string& path, uint64_t bytes_max);

// Makes the directory and its parents; fine if it is there.
Status CreateDirs(const std::string& path, mode_t mode = 0755);
// Fine if it is not there.
Status RemoveFile(const std::string& path);
// DURABLE: entries made, renamed or removed in the directory so far.
Status SyncDir(const std::string& path);
// DURABLE: the new name (fsync of the target's directory). Replaces an existing target.
Status RenameFile(const std::string& from, const std::string& to);
// Names in the directory, sorted, without "." and "..".
Result<std::vector<std::string>> ListDir(const std::string& path);
Result<bool> FileExists(const std::string& path);
// "." for a name without a slash.
std::string DirName(const std::string& path);

// Gives `file` the permission bits and, as far as we may, the owner of `path`. Where the group cannot be kept, its
// rights are dropped rather than given to another group. Fine (nothing done) if `path` does not exist.
Status CopyOwnerAndMode(const std::string& path, const File& file);

// Mutual exclusion between processes by an open-file-description lock on a file of its own; released with the object or
// the process, however that ends. The file holds the holder's pid for people and is left behind.
class FileLock {
 public:
  // Errors: kConflict "<path> is held by process 123" when somebody else has it.
  static Result<FileLock> Acquire(const std::string& path);

  const std::string& path() const { return file_.path(); }

 private:
  explicit FileLock(File file) : file_(std::move(file)) {}

  File file_;
};

}  // namespace runnel
