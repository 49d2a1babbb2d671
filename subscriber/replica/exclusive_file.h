// Keeps every SQLite client away from a database file that is about to be replaced by another one of the same name.
//
// Why: whoever opens the old file and the new one's WAL (found by name) would mix two databases.
#pragma once

#include <memory>
#include <string>

#include "ltx/base/result.h"

struct sqlite3;

namespace runnel::replica {

class ExclusiveFile {
 public:
  // Takes the file out of WAL mode and locks it. A missing file and one that is no database need no lock.
  // Errors: kUnavailable (somebody has it open); kIo.
  static Result<std::unique_ptr<ExclusiveFile>> Take(const std::string& path);
  ~ExclusiveFile();
  ExclusiveFile(const ExclusiveFile&) = delete;
  ExclusiveFile& operator=(const ExclusiveFile&) = delete;

  // Leftovers beside a file that is gone or locked by us.
  static Status RemoveWal(const std::string& path);

 private:
  ExclusiveFile() = default;
  sqlite3* db_ = nullptr;
};

}  // namespace runnel::replica
