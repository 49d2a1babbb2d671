#include "subscriber/replica/exclusive_file.h"

#include <sqlite3.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

namespace runnel::replica {

Result<std::unique_ptr<ExclusiveFile>> ExclusiveFile::Take(const std::string& path) {
  std::unique_ptr<ExclusiveFile> file(new ExclusiveFile());  // private constructor
  struct stat old {};
  if (::stat(path.c_str(), &old) != 0) return file;
  int rc = sqlite3_open_v2(path.c_str(), &file->db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (rc != SQLITE_OK) return Error(Errc::kIo, path + ": cannot be locked: " + sqlite3_errstr(rc));
  // Leaving WAL mode needs everybody else to be gone, and takes -wal and -shm away. Byte 18 = 3 forbids the change of
  // mode; such a file is as good as not in use once it is locked.
  rc = sqlite3_exec(file->db_, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; BEGIN EXCLUSIVE", nullptr,
                    nullptr, nullptr);
  int primary = rc & 0xff;
  if (primary == SQLITE_BUSY || primary == SQLITE_LOCKED) {
    return Error(Errc::kUnavailable, path + ": cannot be replaced while other connections have it open");
  }
  if (rc != SQLITE_OK && primary != SQLITE_NOTADB && primary != SQLITE_CORRUPT) {
    return Error(Errc::kIo, path + ": cannot be locked: " + sqlite3_errstr(rc));
  }
  return file;
}

ExclusiveFile::~ExclusiveFile() { sqlite3_close_v2(db_); }

Status ExclusiveFile::RemoveWal(const std::string& path) {
  for (const char* suffix : {"-wal", "-shm", "-journal"}) {
    std::string name = path + suffix;
    if (::unlink(name.c_str()) != 0 && errno != ENOENT) return ErrnoError(errno, name);
  }
  return Ok();
}

}  // namespace runnel::replica
