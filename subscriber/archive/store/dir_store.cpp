#include "subscriber/archive/store/dir_store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <set>
#include <vector>

#include <fmt/format.h>

#include "ltx/base/fs.h"
#include "ltx/base/sync.h"
#include "subscriber/archive/store/dir_list.h"

namespace runnel::store {
namespace {

constexpr size_t kReadStep = 256 << 10;

std::string TempDirectory(const std::string& root) { return fmt::format("{}/{}", root, kTempFolder); }

Error Failed(std::string_view verb, const std::string& path) {
  return ErrnoError(errno, fmt::format("{} {}", verb, path));
}

// The folders of a store, made on demand. THREAD: any.
class Folders {
 public:
  explicit Folders(std::string root) : root_(std::move(root)) {}

  // DURABLE: the folder and its parents up to the root, also when another process has just made them and not synced
  // yet.
  Status Ensure(const std::string& path) {
    bool made = ::mkdir(path.c_str(), 0755) == 0;
    if (!made && errno == ENOENT) {
      TRY(Ensure(DirName(path)));
      made = ::mkdir(path.c_str(), 0755) == 0;
    }
    if (!made && errno != EEXIST) return Failed("make directory", path);
    if (!made && (path.size() <= root_.size() || Known(path))) return Ok();
    if (path.size() > root_.size()) TRY(Ensure(DirName(path)));
    TRY(SyncDir(DirName(path)));
    MutexLock lock(mutex_);
    durable_.insert(path);
    return Ok();
  }

 private:
  bool Known(const std::string& path) {
    MutexLock lock(mutex_);
    return durable_.contains(path);
  }

  const std::string root_;
  Mutex mutex_;
  std::set<std::string> durable_ GUARDED_BY(mutex_);
};

// Held for the moment in which a name changes, against other processes and threads (each holder opens the file anew).
class RenameLock {
 public:
  static Result<RenameLock> Take(const std::string& root) {
    TRY_ASSIGN(File file, File::OpenOrCreate(TempDirectory(root) + "/lock"));
    while (::flock(file.fd(), LOCK_EX) != 0) {
      if (errno != EINTR) return Failed("lock", file.path());
    }
    return RenameLock(std::move(file));
  }

 private:
  explicit RenameLock(File file) : file_(std::move(file)) {}
  File file_;
};

// Removes what killed writers left behind: temporary files whose lock is free.
void SweepTemporaries(const std::string& root) {
  const Result<std::vector<std::string>> names = ListDir(TempDirectory(root));
  if (!names.ok()) return;
  for (const std::string& name : *names) {
    if (name == "lock") continue;
    const Result<File> file = File::OpenRead(TempDirectory(root) + "/" + name);
    if (file.ok() && ::flock(file->fd(), LOCK_EX | LOCK_NB) == 0) ::unlink(file->path().c_str());
  }
}

// A new locked file that is certain not to have been swept between its creation and its lock.
Result<File> CreateTemporary(const std::string& root) {
  static std::atomic<uint64_t> counter{0};
  while (true) {
    const std::string path =
        fmt::format("{}/{}-{}", TempDirectory(root), ::getpid(), counter.fetch_add(1, std::memory_order_relaxed));
    Result<File> file = File::Create(path);
    if (!file.ok()) {
      TRY_ASSIGN(const bool left_by_a_dead_process_with_our_number, FileExists(path));
      if (left_by_a_dead_process_with_our_number) continue;
      return file.error();
    }
    while (::flock(file->fd(), LOCK_EX) != 0) {
      if (errno != EINTR) return Failed("lock", path);
    }
    struct stat info = {};
    if (::fstat(file->fd(), &info) != 0) return Failed("stat", path);
    if (info.st_nlink == 1) return file;
  }
}

class DirWriter : public ObjectWriter {
 public:
  DirWriter(Folders& folders, std::string root, const std::string& key, PutOptions options, File file)
      : folders_(folders),
        root_(std::move(root)),
        target_(root_ + "/" + key),
        options_(std::move(options)),
        file_(std::move(file)) {}
  ~DirWriter() override { Abort(); }

  Status Write(Bytes bytes) override {
    TRY(file_.WriteAt(size_, bytes));
    size_ += bytes.size();
    return Ok();
  }

  Result<std::string> Commit() override {
    if (options_.timestamp.has_value()) {
      const timespec time = ToTimespec(*options_.timestamp);
      const timespec times[2] = {time, time};
      if (::futimens(file_.fd(), times) != 0) return Failed("set the time of", file_.path());
    }
    TRY(file_.Sync());
    const std::string folder = DirName(target_);
    TRY(folders_.Ensure(folder));
    struct stat info = {};
    {
      TRY_ASSIGN(const RenameLock lock, RenameLock::Take(root_));
      TRY(Publish());
      if (::fstat(file_.fd(), &info) != 0) return Failed("stat", target_);
    }
    TRY(SyncDir(folder));
    return VersionOf(info);
  }

  void Abort() override {
    if (!published_) ::unlink(file_.path().c_str());
    published_ = true;
  }

 private:
  // Gives the file its name. REQUIRES: the rename lock.
  Status Publish() {
    switch (options_.condition.kind()) {
      case WriteCondition::Kind::kNone: break;
      case WriteCondition::Kind::kAbsent: return PublishIfAbsent();
      case WriteCondition::Kind::kVersion: TRY(CheckVersion()); break;
    }
    if (::rename(file_.path().c_str(), target_.c_str()) != 0) return Failed("rename to", target_);
    published_ = true;
    return Ok();
  }

  // The kernel decides, so this holds against writers that do not know our lock, too.
  Status PublishIfAbsent() {
    const std::string& temporary = file_.path();
    int failed = ::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, target_.c_str(), RENAME_NOREPLACE) == 0 ? 0 : errno;
    if (failed == EINVAL || failed == ENOSYS) {  // not every file system has it
      failed = ::link(temporary.c_str(), target_.c_str()) == 0 ? 0 : errno;
      if (failed == 0) ::unlink(temporary.c_str());
    }
    if (failed == EEXIST) return Error(Errc::kConflict, fmt::format("{} exists already", target_));
    if (failed != 0) return ErrnoError(failed, fmt::format("rename to {}", target_));
    published_ = true;
    return Ok();
  }

  Status CheckVersion() const {
    struct stat info = {};
    if (::stat(target_.c_str(), &info) != 0) {
      if (errno != ENOENT) return Failed("stat", target_);
      return Error(Errc::kConflict, fmt::format("{} is no longer there", target_));
    }
    if (VersionOf(info) == options_.condition.version()) return Ok();
    return Error(Errc::kConflict, fmt::format("{} has changed", target_));
  }

  Folders& folders_;
  const std::string root_;
  const std::string target_;
  const PutOptions options_;
  File file_;
  uint64_t size_ = 0;
  bool published_ = false;
};

class DirStore : public ObjectStore {
 public:
  DirStore(std::string root, std::stop_token stop) : root_(std::move(root)), stop_(std::move(stop)), folders_(root_) {}

  const std::string& location() const override { return root_; }

  Result<std::unique_ptr<ObjectWriter>> StartPut(const std::string& key, const PutOptions& options) override {
    TRY(Enter(key));
    TRY(folders_.Ensure(TempDirectory(root_)));
    if (!swept_.exchange(true)) SweepTemporaries(root_);
    TRY_ASSIGN(File file, CreateTemporary(root_));
    return std::unique_ptr<ObjectWriter>(std::make_unique<DirWriter>(folders_, root_, key, options, std::move(file)));
  }

  Result<ObjectInfo> Get(const std::string& key, const ByteRange& range, const ByteSink& sink) override {
    TRY(Enter(key));
    // The open file keeps its version even if the name gets another one.
    Result<File> opened = File::OpenRead(root_ + "/" + key);
    if (!opened.ok()) {
      // A part of the key may be an object: then nothing can lie below it.
      const Result<bool> there = FileExists(root_ + "/" + key);
      return there.ok() && !*there ? opened.error().As(Errc::kNotFound) : opened.error();
    }
    struct stat info = {};
    if (::fstat(opened->fd(), &info) != 0) return Failed("stat", opened->path());
    if (!S_ISREG(info.st_mode)) return Error(Errc::kNotFound, fmt::format("{} is no object", opened->path()));
    ByteRange::Span span = range.Within(static_cast<uint64_t>(info.st_size));
    std::vector<std::byte> buffer(std::min<uint64_t>(kReadStep, span.size()));
    while (span.begin < span.end) {
      TRY(CheckStop());
      const MutableBytes step = MutableBytes(buffer).first(std::min<uint64_t>(buffer.size(), span.size()));
      TRY(opened->ReadExactAt(span.begin, step));
      TRY(sink(step));
      span.begin += step.size();
    }
    return InfoOf(key, info);
  }

  Result<ObjectInfo> Head(const std::string& key) override {
    TRY(Enter(key));
    const std::string path = root_ + "/" + key;
    struct stat info = {};
    if (::stat(path.c_str(), &info) != 0) {
      const bool absent = errno == ENOENT || errno == ENOTDIR;
      return absent ? Failed("stat", path).As(Errc::kNotFound) : Failed("stat", path);
    }
    if (!S_ISREG(info.st_mode)) return Error(Errc::kNotFound, fmt::format("{} is no object", path));
    return InfoOf(key, info);
  }

  Result<ListPage> List(const ListOptions& options) override {
    TRY(CheckStop());
    return ListDirectory(root_, options);
  }

  Status Delete(const std::string& key) override {
    TRY(Enter(key));
    const std::string path = root_ + "/" + key;
    struct stat info = {};
    if (::stat(path.c_str(), &info) != 0) {
      if (errno == ENOENT || errno == ENOTDIR) return Ok();
      return Failed("stat", path);
    }
    TRY(folders_.Ensure(TempDirectory(root_)));
    TRY_ASSIGN(const RenameLock lock, RenameLock::Take(root_));
    if (::unlink(path.c_str()) != 0 && errno != ENOENT) return Failed("remove", path);
    return SyncDir(DirName(path));
  }

 private:
  Status Enter(const std::string& key) const {
    TRY(CheckStop());
    TRY(CheckKey(key));
    if (!key.starts_with(kTempFolder)) return Ok();
    return Error(Errc::kInvalid,
                 fmt::format("object key: names beginning with {} are kept for temporary files", kTempFolder));
  }

  Status CheckStop() const {
    return stop_.stop_requested() ? Status(Error(Errc::kCancelled, fmt::format("{}: stopped", root_))) : Ok();
  }

  const std::string root_;
  const std::stop_token stop_;
  Folders folders_;
  std::atomic<bool> swept_{false};
};

}  // namespace

std::unique_ptr<ObjectStore> OpenDirStore(std::string directory, std::stop_token stop) {
  return std::make_unique<DirStore>(std::move(directory), std::move(stop));
}

}  // namespace runnel::store
