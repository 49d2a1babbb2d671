// One stock SQLite connection whose file handle we borrow: its locks, its wal-index mapping and its file reads and
// writes, through the io methods every VFS implements. The shared base of capture (publisher/) and apply
// (subscriber/replica/).
//
// Why borrowed: POSIX locks belong to the process, and closing ANY descriptor on the database or -shm drops all of
// them, also those of SQLite's other connections in this process. So we never open db, -wal or -shm ourselves, and
// SQLite does the first-connect, recovery and last-close dances. Works with any unmodified libsqlite3.
//
// Invariants:
//   I1  The connection has read once, so it holds SHARED on the database: nobody can delete the WAL or leave WAL mode.
//   I2  Locks we hold are tracked here: newer SQLite answers BUSY to a lock the connection already has, older says OK.
//   I3  A connection whose raw locks are in use runs no SQL (SQL could take a slot we hold and drop our lock with its
//   own).
//
// THREAD: one at a time. LIFETIME: pointers into the wal-index stay valid until destruction.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/sqlite/wal_index.h"

struct sqlite3;
struct sqlite3_file;

namespace runnel::sqlite {

struct LiveDbOptions {
  std::string path;
  // How long to wait for a database somebody has locked exclusively before giving up with kUnavailable.
  std::chrono::milliseconds wait{5000};
};

struct CheckpointResult {
  bool busy = false;  // somebody else is checkpointing
  int log_frames = 0;
  int backfilled_frames = 0;
};

class LiveDb {
 public:
  // Opens an existing WAL database read-write. Errors, each one sentence: kNotFound; kRefused (not a database,
  // rollback-journal mode with the PRAGMA that changes it, unknown wal-index version, network file system);
  // kUnavailable (locked for longer than `wait`); kIo.
  static Result<std::unique_ptr<LiveDb>> Open(const LiveDbOptions& options);
  ~LiveDb();
  LiveDb(const LiveDb&) = delete;
  LiveDb& operator=(const LiveDb&) = delete;

  const std::string& path() const { return path_; }
  uint32_t page_size() const { return page_size_; }

  // Locks, by wal-index lock number (kLockWrite, ..., LockRead(slot)). Never wait. REQUIRES: not already held.
  bool TryShared(int lock);
  bool TryExclusive(int lock, int count = 1);
  void UnlockShared(int lock);
  void UnlockExclusive(int lock, int count = 1);
  bool Holds(int lock) const { return ((shared_ | exclusive_) >> lock & 1u) != 0; }

  // The wal-index.
  // One attempt: both copies equal and valid. False while a writer is inside its update, or for good if it died there.
  bool TryReadHeader(WalIndexHeader& out) const;
  // Up to `tries` attempts, a few microseconds apart after the first ones.
  bool ReadHeader(WalIndexHeader& out, int tries = 200) const;
  // Writes both copies in SQLite's order with barriers; computes is_init, version and checksum. REQUIRES: write lock
  // held. `between_copies` is a seam for crash tests.
  void WriteHeader(WalIndexHeader& header, const std::function<void()>& between_copies = {});
  uint32_t Word(size_t offset) const;
  void SetWord(size_t offset, uint32_t value);
  uint32_t backfill() const { return Word(kBackfillOffset); }
  // How far the checkpoint that runs now, or ran last, was to copy. 0 before SQLite 3.11.
  uint32_t backfill_attempted() const { return Word(kBackfillAttemptedOffset); }
  uint32_t read_mark(int slot) const { return Word(kReadMarkOffset + 4 * static_cast<size_t>(slot)); }
  void set_read_mark(int slot, uint32_t value) { SetWord(kReadMarkOffset + 4 * static_cast<size_t>(slot), value); }
  // Start of block `index` (32768 bytes); nullptr if it does not exist and `extend` is false.
  Result<std::byte*> IndexBlock(uint32_t index, bool extend);
  void Barrier() const;

  // Files. A read past the end is kCorrupt. Writes above 64 KiB are cut (unix xWrite refuses more than 128 KiB).
  Status ReadWal(MutableBytes out, uint64_t offset) const;
  Status WriteWal(Bytes bytes, uint64_t offset);
  Result<uint64_t> WalBytes() const;
  Status SyncWal();
  Status TruncateWal(uint64_t bytes);
  Status ReadDb(MutableBytes out, uint64_t offset) const;
  Status WriteDb(Bytes bytes, uint64_t offset);
  Result<uint64_t> DbBytes() const;
  Status TruncateDb(uint64_t bytes);
  Status SyncDb();

  // SQL. REQUIRES: no raw lock held on this connection (I3). A read lets SQLite recover a torn wal-index header.
  Status Execute(const char* sql);
  Result<std::string> QueryText(const char* sql);  // first column of the first row, "" if none
  // One PASSIVE checkpoint. REQUIRES: no raw lock held on this connection; pins are held by another one.
  // `locked` is called once this connection has the CKPT lock, before SQLite reads how far it may copy; it runs no SQL
  // on this connection.
  Result<CheckpointResult> CheckpointPassive(const std::function<void()>& locked = {});

 private:
  LiveDb() = default;
  Status Connect(const LiveDbOptions& options);
  Status Borrow();
  Error SqliteError(int rc, const char* what) const;

  std::string path_;
  sqlite3* db_ = nullptr;
  sqlite3_file* file_ = nullptr;
  sqlite3_file* wal_ = nullptr;
  uint32_t page_size_ = 0;
  uint32_t shared_ = 0;     // bit per lock
  uint32_t exclusive_ = 0;  // bit per lock
  std::vector<std::byte*> blocks_;
};

// Version of the library this process runs with, for doctor and status.
std::string SqliteVersion();

}  // namespace runnel::sqlite
