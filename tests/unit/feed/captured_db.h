// A real SQLite database in WAL mode, its image in memory, and the pages of each commit as they stand in the WAL.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <functional>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "ltx/format/types.h"
#include "ltx/sqlite/page_source.h"

namespace runnel::testing {

// Everything random of one run comes from here.
class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : engine_() % n; }
  bool Chance(int percent) { return static_cast<int>(Below(100)) < percent; }
  uint64_t Word() { return engine_(); }
  template <typename T>
  const T& Of(const std::vector<T>& items) {
    return items[Below(items.size())];
  }

 private:
  std::mt19937_64 engine_;
};

struct DbSettings {
  uint32_t page_size = 4096;
  int auto_vacuum = 0;
  std::string encoding = "UTF-8";
  int secure_delete = 0;  // 0, 1, 2: fast
  int reserved_bytes = 0;
  int cache_pages = 2000;
  bool foreign_keys = false;
  std::string ToString() const;
};

struct CapturedCommit {
  uint32_t page_count = 0;
  std::map<Pgno, std::string> pages;
};

class CapturedDb {
 public:
  // `random` feeds the SQL functions rb(n) (random blob) and rt(n) (random text).
  CapturedDb(std::string path, const DbSettings& settings, Random& random);
  ~CapturedDb();
  CapturedDb(const CapturedDb&) = delete;
  CapturedDb& operator=(const CapturedDb&) = delete;

  sqlite3* handle() { return db_; }
  // SQLite's message, "" when all went well.
  std::string Exec(const std::string& sql);
  int64_t Number(const std::string& sql);
  std::vector<std::string> Texts(const std::string& sql);

  // The commits in the WAL that were not taken yet; `merged`: all of them as one.
  std::vector<CapturedCommit> Take(bool merged);
  // Empties the WAL. REQUIRES: everything was taken.
  void Checkpoint();
  uint32_t frames_taken() const { return frames_taken_; }

  // The image, after the commits given to Apply.
  Bytes image() const { return AsBytes(image_); }
  uint32_t page_size() const { return page_size_; }
  void Apply(const CapturedCommit& commit);

 private:
  uint32_t MaxFrame();

  const std::string path_;
  sqlite3* db_ = nullptr;
  std::string image_;
  uint32_t page_size_ = 0;
  int wal_ = -1;
  int shm_ = -1;
  uint32_t frames_taken_ = 0;
};

std::string QuotedName(const std::string& name);

}  // namespace runnel::testing
