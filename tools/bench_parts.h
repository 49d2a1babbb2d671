// The moving parts of `runnel bench`: a real SQLite writer, a reader that watches a replica, and our own nodes as child
// processes.
#pragma once

#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ltx/base/result.h"

struct sqlite3;

namespace runnel::tools {

using BenchClock = std::chrono::steady_clock;

// A scratch directory, removed with the object.
class BenchDir {
 public:
  BenchDir();
  ~BenchDir();
  BenchDir(const BenchDir&) = delete;
  BenchDir& operator=(const BenchDir&) = delete;
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

// A child process; SIGTERM and wait at the end.
class BenchChild {
 public:
  // Errors: kIo. Standard output and error go to `log`.
  static Result<std::unique_ptr<BenchChild>> Start(const std::vector<std::string>& argv, const std::string& log);
  // A process that only counts, each millisecond for `share` of it (0 to 1).
  static Result<std::unique_ptr<BenchChild>> StartCounting(double share);
  ~BenchChild();
  BenchChild(const BenchChild&) = delete;
  BenchChild& operator=(const BenchChild&) = delete;
  void Stop();
  // False once it has ended by itself.
  bool running();
  // Peak resident set in KiB: all of it, and the anonymous part (without mapped files).
  struct Memory {
    long peak_kib = 0;
    long anonymous_kib = 0;
  };
  Memory memory() const;
  double cpu_seconds() const;

 private:
  // A child that lives so; it is gone with its parent, and ends with 127 when `live` returns.
  static Result<std::unique_ptr<BenchChild>> Fork(const std::function<void()>& live);
  explicit BenchChild(pid_t pid) : pid_(pid) {}
  pid_t pid_;
};

// One row a commit into table t(id, stamp, payload).
class BenchWriter {
 public:
  static Result<std::unique_ptr<BenchWriter>> Open(const std::string& path, const std::string& synchronous);
  ~BenchWriter();
  // Commits at `rate` a second (0: as fast as it goes) for `time`; the moment each COMMIT returned is added to
  // committed_at.
  Status Run(double rate, std::chrono::milliseconds time);
  // `rows` rows of `bytes` random bytes in transactions of `batch` rows.
  Status Fill(uint64_t rows, uint32_t bytes, uint32_t batch);
  // A table of `rows` rows of 200 bytes and an index, then `commits` transactions that each change `rows_each` rows at
  // random places.
  Status FillRows(uint64_t rows);
  Status ChangeRows(uint64_t rows, uint64_t commits, uint64_t rows_each);
  // `commits` transactions that each add `rows_each` rows at the end.
  Status AppendRows(uint64_t commits, uint64_t rows_each);
  const std::vector<BenchClock::time_point>& committed_at() const { return committed_at_; }  // by row id - 1

 private:
  explicit BenchWriter(sqlite3* db) : db_(db) {}
  sqlite3* db_;
  std::vector<BenchClock::time_point> committed_at_;
};

// Polls a replica with an ordinary connection and notes when each row was first seen.
class BenchReader {
 public:
  explicit BenchReader(std::string path);
  ~BenchReader();
  // Waits until the replica shows `rows` rows. False at the deadline.
  bool Await(uint64_t rows, BenchClock::time_point deadline);
  std::vector<BenchClock::time_point> Stop();  // by row id - 1

 private:
  void Loop(std::stop_token stop);
  std::string path_;
  std::atomic<uint64_t> rows_{0};
  std::vector<BenchClock::time_point> seen_at_;
  std::jthread thread_;
};

// Sorted copy's quantile.
double Quantile(std::vector<double> values, double quantile);
// Of few values: the middle one, or the mean of the two in the middle.
double Median(const std::vector<double>& values);

}  // namespace runnel::tools
