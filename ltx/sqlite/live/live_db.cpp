#include "ltx/sqlite/live/live_db.h"

#include <linux/magic.h>
#include <sqlite3.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "ltx/base/check.h"
#include "ltx/base/time.h"

namespace runnel::sqlite {
namespace {

constexpr size_t kDbHeaderBytes = 100;
constexpr size_t kWriteBytesMax = 65536;  // unix xWrite masks lengths with 0x1ffff
constexpr std::chrono::milliseconds kLockedRetry{10};

Status CheckPlace(const std::string& path) {
  struct stat file {};
  if (::stat(path.c_str(), &file) != 0) {
    if (errno == ENOENT) return Error(Errc::kNotFound, path + ": no such database file");
    return ErrnoError(errno, path);
  }
  if (!S_ISREG(file.st_mode)) return Error(Errc::kRefused, path + ": is not a file, so it cannot be a SQLite database");
  struct statfs fs {};
  if (::statfs(path.c_str(), &fs) == 0 && (fs.f_type == NFS_SUPER_MAGIC || fs.f_type == SMB_SUPER_MAGIC ||
                                           fs.f_type == CIFS_SUPER_MAGIC || fs.f_type == SMB2_SUPER_MAGIC)) {
    return Error(Errc::kRefused,
                 path + ": is on a network file system, where WAL mode cannot share memory; use a local disk");
  }
  return Ok();
}

// The first bytes, read through the handle SQLite has just opened: a descriptor of our own would, when closed, drop the
// locks of every other connection this process has on the file.
Result<std::string> ReadDbHeader(sqlite3* db, const std::string& path) {
  sqlite3_file* file = nullptr;
  sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  sqlite3_int64 size = 0;
  if (file == nullptr || file->pMethods == nullptr || file->pMethods->xFileSize(file, &size) != SQLITE_OK) {
    return Error(Errc::kIo, path + ": cannot be read");
  }
  std::string bytes(static_cast<size_t>(std::min<sqlite3_int64>(size, kDbHeaderBytes)), '\0');
  if (!bytes.empty() && file->pMethods->xRead(file, bytes.data(), static_cast<int>(bytes.size()), 0) != SQLITE_OK) {
    return Error(Errc::kIo, path + ": cannot be read");
  }
  return bytes;
}

Status CheckDbHeader(const std::string& path, const std::string& header) {
  if (header.empty()) {
    return Error(Errc::kRefused,
                 path + ": is an empty file, not yet a SQLite database; let the application create it first");
  }
  if (header.size() < kDbHeaderBytes || header.compare(0, 16, std::string("SQLite format 3\0", 16)) != 0) {
    return Error(Errc::kRefused, path + ": is not a SQLite database; check the path");
  }
  if (header[18] != 2 && header[18] != 3) {
    return Error(Errc::kRefused,
                 path + ": is in rollback-journal mode; run once: sqlite3 '" + path + "' 'PRAGMA journal_mode=WAL'");
  }
  return Ok();
}

// The methods of an open file with one of them watched: SQLite calls through the table a file points to, so the watch
// is there for as long as the file points here.
struct WatchedMethods : sqlite3_io_methods {
  const sqlite3_io_methods* base = nullptr;
  const std::function<void()>* checkpoint_locked = nullptr;
};

int WatchedShmLock(sqlite3_file* file, int lock, int count, int flags) {
  const auto* watched = static_cast<const WatchedMethods*>(file->pMethods);
  const int rc = watched->base->xShmLock(file, lock, count, flags);
  const bool taken = rc == SQLITE_OK && flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
  if (taken && lock == kLockCheckpoint) (*watched->checkpoint_locked)();
  return rc;
}

int Exec(sqlite3* db, const char* sql) { return sqlite3_exec(db, sql, nullptr, nullptr, nullptr); }

}  // namespace

std::string SqliteVersion() { return sqlite3_libversion(); }

Result<std::unique_ptr<LiveDb>> LiveDb::Open(const LiveDbOptions& options) {
  TRY(CheckPlace(options.path));
  std::unique_ptr<LiveDb> live(new LiveDb());  // private constructor: make_unique cannot reach it
  TRY(live->Connect(options));
  TRY(live->Borrow());
  return live;
}

LiveDb::~LiveDb() {
  for (int lock = 0; lock < 8; ++lock) {
    if ((shared_ >> lock & 1u) != 0) UnlockShared(lock);
    if ((exclusive_ >> lock & 1u) != 0) UnlockExclusive(lock);
  }
  sqlite3_close_v2(db_);
}

Error LiveDb::SqliteError(int rc, const char* what) const {
  int primary = rc & 0xff;
  Errc code = Errc::kIo;
  if (primary == SQLITE_FULL) code = Errc::kExhausted;
  if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED) code = Errc::kUnavailable;
  if (primary == SQLITE_CORRUPT || primary == SQLITE_NOTADB || rc == SQLITE_IOERR_SHORT_READ) code = Errc::kCorrupt;
  int os_error = db_ != nullptr ? sqlite3_system_errno(db_) : 0;
  if (primary == SQLITE_IOERR && (errno == ENOSPC || errno == EDQUOT || os_error == ENOSPC || os_error == EDQUOT)) {
    code = Errc::kExhausted;
  }
  return Error(code, path_ + ": " + what + ": " + sqlite3_errstr(rc));
}

Status LiveDb::Connect(const LiveDbOptions& options) {
  path_ = options.path;
  int rc = sqlite3_open_v2(path_.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (rc != SQLITE_OK) return SqliteError(rc, "open");
  TRY_ASSIGN(std::string header, ReadDbHeader(db_, path_));
  TRY(CheckDbHeader(path_, header));
  sqlite3_extended_result_codes(db_, 1);
  sqlite3_busy_timeout(db_, 0);
  // We checkpoint when our own policy says so, never as a side effect of closing.
  sqlite3_db_config(db_, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, nullptr);
  int persist = 1;
  sqlite3_file_control(db_, "main", SQLITE_FCNTL_PERSIST_WAL, &persist);
  Exec(db_, "PRAGMA mmap_size=0");
  // Page 1 only: opens the WAL and the wal-index, recovers it if a process died, parses no schema.
  auto deadline = std::chrono::steady_clock::now() + options.wait;
  while (true) {
    rc = Exec(db_, "PRAGMA wal_autocheckpoint=0; PRAGMA schema_version");
    if (rc == SQLITE_OK) return Ok();
    if ((rc & 0xff) != SQLITE_BUSY) return SqliteError(rc, "first read");
    if (std::chrono::steady_clock::now() >= deadline) {
      return Error(Errc::kUnavailable, path_ +
                                           ": is locked by another process; if the application uses PRAGMA "
                                           "locking_mode=EXCLUSIVE it must stop doing so");
    }
    Pause(kLockedRetry);
  }
}

Status LiveDb::Borrow() {
  sqlite3_file_control(db_, "main", SQLITE_FCNTL_FILE_POINTER, &file_);
  sqlite3_file_control(db_, "main", SQLITE_FCNTL_JOURNAL_POINTER, &wal_);
  if (file_ == nullptr || file_->pMethods == nullptr || file_->pMethods->iVersion < 2 || wal_ == nullptr ||
      wal_->pMethods == nullptr) {
    return Error(Errc::kRefused, path_ + ": this SQLite build shares no wal-index (no shared memory)");
  }
  TRY_ASSIGN(std::byte * block, IndexBlock(0, false));
  if (block == nullptr) {
    return Error(Errc::kRefused, path_ + ": has no wal-index; is another process using locking_mode=EXCLUSIVE?");
  }
  if (Word(0) != kWalIndexVersion) {
    return Error(Errc::kRefused,
                 path_ + ": has wal-index version " + std::to_string(Word(0)) + ", only 3007000 is known");
  }
  std::byte header[kDbHeaderBytes];
  TRY(ReadDb(header, 0));
  page_size_ = LoadBe16(header + 16) == 1 ? 65536 : LoadBe16(header + 16);
  if (page_size_ < 512 || (page_size_ & (page_size_ - 1)) != 0) {
    return Error(Errc::kCorrupt, path_ + ": page size " + std::to_string(page_size_) + " is impossible");
  }
  return Ok();
}

bool LiveDb::TryShared(int lock) {
  CHECK(!Holds(lock), "lock already held");
  if (file_->pMethods->xShmLock(file_, lock, 1, SQLITE_SHM_LOCK | SQLITE_SHM_SHARED) != SQLITE_OK) return false;
  shared_ |= 1u << lock;
  return true;
}

bool LiveDb::TryExclusive(int lock, int count) {
  uint32_t mask = ((1u << count) - 1) << lock;
  CHECK(((shared_ | exclusive_) & mask) == 0, "lock already held");
  if (file_->pMethods->xShmLock(file_, lock, count, SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE) != SQLITE_OK) return false;
  exclusive_ |= mask;
  return true;
}

void LiveDb::UnlockShared(int lock) {
  CHECK((shared_ >> lock & 1u) != 0, "lock not held");
  file_->pMethods->xShmLock(file_, lock, 1, SQLITE_SHM_UNLOCK | SQLITE_SHM_SHARED);
  shared_ &= ~(1u << lock);
}

void LiveDb::UnlockExclusive(int lock, int count) {
  uint32_t mask = ((1u << count) - 1) << lock;
  CHECK((exclusive_ & mask) == mask, "lock not held");
  file_->pMethods->xShmLock(file_, lock, count, SQLITE_SHM_UNLOCK | SQLITE_SHM_EXCLUSIVE);
  exclusive_ &= ~mask;
}

uint32_t LiveDb::Word(size_t offset) const {
  return __atomic_load_n(reinterpret_cast<uint32_t*>(blocks_[0] + offset), __ATOMIC_SEQ_CST);
}

void LiveDb::SetWord(size_t offset, uint32_t value) {
  __atomic_store_n(reinterpret_cast<uint32_t*>(blocks_[0] + offset), value, __ATOMIC_SEQ_CST);
}

void LiveDb::Barrier() const {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  file_->pMethods->xShmBarrier(file_);
}

bool LiveDb::TryReadHeader(WalIndexHeader& out) const {
  constexpr size_t kWords = kWalIndexHeaderBytes / sizeof(uint32_t);
  uint32_t first[kWords];
  uint32_t second[kWords];
  for (size_t i = 0; i < kWords; ++i) first[i] = Word(i * sizeof(uint32_t));
  Barrier();
  for (size_t i = 0; i < kWords; ++i) second[i] = Word(kWalIndexHeaderBytes + i * sizeof(uint32_t));
  if (std::memcmp(first, second, sizeof first) != 0) return false;
  WalIndexHeader header;
  std::memcpy(&header, first, sizeof header);
  if (!IsValid(header)) return false;
  out = header;
  return true;
}

bool LiveDb::ReadHeader(WalIndexHeader& out, int tries) const {
  constexpr int kSpins = 20;
  for (int i = 0; i < tries; ++i) {
    if (TryReadHeader(out)) return true;
    if (i >= kSpins) Pause(std::chrono::microseconds(10));
  }
  return false;
}

void LiveDb::WriteHeader(WalIndexHeader& header, const std::function<void()>& between_copies) {
  CHECK((exclusive_ >> kLockWrite & 1u) != 0, "wal-index header written without the write lock");
  header.version = kWalIndexVersion;
  header.unused = 0;
  header.is_init = 1;
  ComputeHeaderChecksum(header, header.header_checksum);
  std::memcpy(blocks_[0] + kWalIndexHeaderBytes, &header, sizeof header);
  Barrier();
  if (between_copies) between_copies();
  std::memcpy(blocks_[0], &header, sizeof header);
  Barrier();
}

Result<std::byte*> LiveDb::IndexBlock(uint32_t index, bool extend) {
  if (index < blocks_.size() && blocks_[index] != nullptr) return blocks_[index];
  void volatile* mapped = nullptr;
  int rc = file_->pMethods->xShmMap(file_, static_cast<int>(index), kWalIndexBlockBytes, extend ? 1 : 0, &mapped);
  if (rc != SQLITE_OK) return SqliteError(rc, "map wal-index");
  if (mapped == nullptr) return static_cast<std::byte*>(nullptr);
  if (blocks_.size() <= index) blocks_.resize(index + 1, nullptr);
  blocks_[index] = static_cast<std::byte*>(const_cast<void*>(mapped));
  return blocks_[index];
}

Status LiveDb::ReadWal(MutableBytes out, uint64_t offset) const {
  int rc = wal_->pMethods->xRead(wal_, out.data(), static_cast<int>(out.size()), static_cast<sqlite3_int64>(offset));
  return rc == SQLITE_OK ? Ok() : Status(SqliteError(rc, "read WAL"));
}

Status LiveDb::WriteWal(Bytes bytes, uint64_t offset) {
  while (!bytes.empty()) {
    size_t size = std::min(bytes.size(), kWriteBytesMax);
    int rc = wal_->pMethods->xWrite(wal_, bytes.data(), static_cast<int>(size), static_cast<sqlite3_int64>(offset));
    if (rc != SQLITE_OK) return SqliteError(rc, "write WAL");
    bytes = bytes.subspan(size);
    offset += size;
  }
  return Ok();
}

Result<uint64_t> LiveDb::WalBytes() const {
  sqlite3_int64 size = 0;
  int rc = wal_->pMethods->xFileSize(wal_, &size);
  if (rc != SQLITE_OK) return SqliteError(rc, "size of WAL");
  return static_cast<uint64_t>(size);
}

Status LiveDb::SyncWal() {
  int rc = wal_->pMethods->xSync(wal_, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
  return rc == SQLITE_OK ? Ok() : Status(SqliteError(rc, "sync WAL"));
}

Status LiveDb::TruncateWal(uint64_t bytes) {
  int rc = wal_->pMethods->xTruncate(wal_, static_cast<sqlite3_int64>(bytes));
  return rc == SQLITE_OK ? Ok() : Status(SqliteError(rc, "truncate WAL"));
}

Status LiveDb::ReadDb(MutableBytes out, uint64_t offset) const {
  int rc = file_->pMethods->xRead(file_, out.data(), static_cast<int>(out.size()), static_cast<sqlite3_int64>(offset));
  return rc == SQLITE_OK ? Ok() : Status(SqliteError(rc, "read database"));
}

Status LiveDb::WriteDb(Bytes bytes, uint64_t offset) {
  while (!bytes.empty()) {
    size_t size = std::min(bytes.size(), kWriteBytesMax);
    int rc = file_->pMethods->xWrite(file_, bytes.data(), static_cast<int>(size), static_cast<sqlite3_int64>(offset));
    if (rc != SQLITE_OK) return SqliteError(rc, "write database");
    bytes = bytes.subspan(size);
    offset += size;
  }
  return Ok();
}

Result<uint64_t> LiveDb::DbBytes() const {
  sqlite3_int64 size = 0;
  int rc = file_->pMethods->xFileSize(file_, &size);
  if (rc != SQLITE_OK) return SqliteError(rc, "size of database");
  return static_cast<uint64_t>(size);
}

Status LiveDb::TruncateDb(uint64_t bytes) {
  int rc = file_->pMethods->xTruncate(file_, static_cast<sqlite3_int64>(bytes));
  return rc == SQLITE_OK ? Ok() : Status(SqliteError(rc, "truncate database"));
}

Status LiveDb::SyncDb() {
  int rc = file_->pMethods->xSync(file_, SQLITE_SYNC_NORMAL);
  return rc == SQLITE_OK ? Ok() : Status(SqliteError(rc, "sync database"));
}

Status LiveDb::Execute(const char* sql) {
  CHECK(shared_ == 0 && exclusive_ == 0, "SQL on a connection whose raw locks are in use");
  int rc = Exec(db_, sql);
  return rc == SQLITE_OK ? Ok() : Status(SqliteError(rc, sql));
}

Result<std::string> LiveDb::QueryText(const char* sql) {
  CHECK(shared_ == 0 && exclusive_ == 0, "SQL on a connection whose raw locks are in use");
  sqlite3_stmt* statement = nullptr;
  int rc = sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr);
  std::string text;
  if (rc == SQLITE_OK) {
    rc = sqlite3_step(statement);
    const unsigned char* value = rc == SQLITE_ROW ? sqlite3_column_text(statement, 0) : nullptr;
    if (value != nullptr) text = reinterpret_cast<const char*>(value);
  }
  sqlite3_finalize(statement);
  if (rc != SQLITE_ROW && rc != SQLITE_DONE && rc != SQLITE_OK) return SqliteError(rc, sql);
  return text;
}

Result<CheckpointResult> LiveDb::CheckpointPassive(const std::function<void()>& locked) {
  CHECK(shared_ == 0 && exclusive_ == 0, "checkpoint on a connection whose raw locks are in use");
  CheckpointResult result;
  WatchedMethods watched;
  const sqlite3_io_methods* base = file_->pMethods;
  if (locked) {
    static_cast<sqlite3_io_methods&>(watched) = *base;
    watched.xShmLock = &WatchedShmLock;
    watched.base = base;
    watched.checkpoint_locked = &locked;
    file_->pMethods = &watched;
  }
  int rc =
      sqlite3_wal_checkpoint_v2(db_, "main", SQLITE_CHECKPOINT_PASSIVE, &result.log_frames, &result.backfilled_frames);
  file_->pMethods = base;
  if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED) {
    result.busy = true;
    return result;
  }
  if (rc != SQLITE_OK) return SqliteError(rc, "checkpoint");
  return result;
}

}  // namespace runnel::sqlite
