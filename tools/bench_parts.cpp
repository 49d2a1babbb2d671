#include "tools/bench_parts.h"

#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "ltx/base/time.h"

namespace runnel::tools {
namespace {

Error SqlError(sqlite3* db, const std::string& what) {
  return Error(Errc::kIo, "bench writer: " + what + ": " + sqlite3_errmsg(db));
}

Status Exec(sqlite3* db, const std::string& sql) {
  return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr) == SQLITE_OK ? Ok() : Status(SqlError(db, sql));
}

}  // namespace

BenchDir::BenchDir() {
  std::string pattern = (std::filesystem::temp_directory_path() / "runnel-bench-XXXXXX").string();
  path_ = ::mkdtemp(pattern.data());
}

BenchDir::~BenchDir() {
  std::error_code ec;
  std::filesystem::remove_all(path_, ec);
}

Result<std::unique_ptr<BenchChild>> BenchChild::Fork(const std::function<void()>& live) {
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoError(errno, "fork");
  if (pid == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGTERM);
    live();
    ::_exit(127);
  }
  return std::unique_ptr<BenchChild>(new BenchChild(pid));  // private constructor
}

Result<std::unique_ptr<BenchChild>> BenchChild::Start(const std::vector<std::string>& argv, const std::string& log) {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  return Fork([&] {
    int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(fd, 1);
    ::dup2(fd, 2);
    ::execvp(args[0], args.data());
  });
}

Result<std::unique_ptr<BenchChild>> BenchChild::StartCounting(double share) {
  const auto busy = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::milliseconds(1) * share);
  return Fork([busy] {
    ::signal(SIGTERM, SIG_DFL);
    while (true) {
      const BenchClock::time_point until = BenchClock::now() + busy;
      while (BenchClock::now() < until) continue;
      Pause(std::chrono::milliseconds(1) - busy);
    }
  });
}

BenchChild::~BenchChild() { Stop(); }

void BenchChild::Stop() {
  if (pid_ <= 0) return;
  ::kill(pid_, SIGTERM);
  ::waitpid(pid_, nullptr, 0);
  pid_ = -1;
}

bool BenchChild::running() {
  if (pid_ > 0 && ::waitpid(pid_, nullptr, WNOHANG) == pid_) pid_ = -1;
  return pid_ > 0;
}

BenchChild::Memory BenchChild::memory() const {
  Memory memory;
  std::ifstream status("/proc/" + std::to_string(pid_) + "/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("VmHWM:", 0) == 0) memory.peak_kib = std::atol(line.c_str() + 6);
    if (line.rfind("RssAnon:", 0) == 0) memory.anonymous_kib = std::atol(line.c_str() + 8);
  }
  return memory;
}

double BenchChild::cpu_seconds() const {
  std::ifstream stat("/proc/" + std::to_string(pid_) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), std::istreambuf_iterator<char>());
  size_t behind_name = text.rfind(')');
  if (behind_name == std::string::npos) return 0;
  std::istringstream fields(text.substr(behind_name + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) fields >> skipped;
  double user = 0;
  double system = 0;
  fields >> user >> system;
  return (user + system) / static_cast<double>(::sysconf(_SC_CLK_TCK));
}

Result<std::unique_ptr<BenchWriter>> BenchWriter::Open(const std::string& path, const std::string& synchronous) {
  sqlite3* db = nullptr;
  int rc = sqlite3_open(path.c_str(), &db);
  std::unique_ptr<BenchWriter> writer(new BenchWriter(db));  // private constructor; owns db even when the open failed
  if (rc != SQLITE_OK) return SqlError(db, "open " + path);
  sqlite3_busy_timeout(db, 5000);
  TRY(Exec(db, "PRAGMA journal_mode=WAL"));
  TRY(Exec(db, "PRAGMA synchronous=" + synchronous));
  TRY(Exec(db, "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, stamp INT, payload BLOB)"));
  return writer;
}

BenchWriter::~BenchWriter() { sqlite3_close(db_); }

Status BenchWriter::Run(double rate, std::chrono::milliseconds time) {
  sqlite3_stmt* insert = nullptr;
  if (sqlite3_prepare_v2(db_, "INSERT INTO t(stamp, payload) VALUES(?1, randomblob(100))", -1, &insert, nullptr) !=
      SQLITE_OK) {
    return SqlError(db_, "prepare");
  }
  BenchClock::time_point start = BenchClock::now();
  BenchClock::time_point end = start + time;
  uint64_t count = 0;
  Status status = Ok();
  while (status.ok()) {
    BenchClock::time_point now = BenchClock::now();
    if (rate > 0) {
      auto due = start + std::chrono::nanoseconds(static_cast<int64_t>(1e9 * static_cast<double>(count) / rate));
      if (now < due) {
        status = SleepUntil(due, std::stop_token());
        now = BenchClock::now();
      }
    }
    if (now >= end) break;
    sqlite3_bind_int64(insert, 1, static_cast<sqlite3_int64>(count));
    if (sqlite3_step(insert) != SQLITE_DONE) status = SqlError(db_, "insert");
    sqlite3_reset(insert);
    committed_at_.push_back(BenchClock::now());
    ++count;
  }
  sqlite3_finalize(insert);
  return status;
}

Status BenchWriter::Fill(uint64_t rows, uint32_t bytes, uint32_t batch) {
  for (uint64_t done = 0; done < rows; done += batch) {
    uint64_t count = std::min<uint64_t>(batch, rows - done);
    TRY(Exec(db_, "WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x WHERE i < " + std::to_string(count) +
                      ") INSERT INTO t(stamp, payload) SELECT i, randomblob(" + std::to_string(bytes) + ") FROM x"));
    BenchClock::time_point now = BenchClock::now();
    committed_at_.insert(committed_at_.end(), count, now);
  }
  return Ok();
}

Status BenchWriter::FillRows(uint64_t rows) {
  TRY(Exec(db_, "CREATE TABLE rows(id INTEGER PRIMARY KEY, k INTEGER, n INTEGER, payload TEXT)"));
  constexpr uint64_t kBatch = 100000;
  for (uint64_t done = 0; done < rows; done += kBatch) {
    TRY(Exec(db_, "WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x WHERE i < " +
                      std::to_string(std::min(kBatch, rows - done)) +
                      ") INSERT INTO rows(k, n, payload) SELECT i, 0, hex(randomblob(95)) FROM x"));
  }
  return Exec(db_, "CREATE INDEX rows_k ON rows(k)");
}

Status BenchWriter::ChangeRows(uint64_t rows, uint64_t commits, uint64_t rows_each) {
  constexpr uint64_t kManyRows = 1000;  // from here on neighbours, as bulk updates are
  sqlite3_stmt* update = nullptr;
  const char* sql = "UPDATE rows SET n = n + 1 WHERE id BETWEEN ? AND ?";
  if (sqlite3_prepare_v2(db_, sql, -1, &update, nullptr) != SQLITE_OK) return SqlError(db_, sql);
  uint64_t random = 1;
  bool ok = true;
  for (uint64_t i = 0; ok && i < commits; ++i) {
    ok = sqlite3_exec(db_, "BEGIN", nullptr, nullptr, nullptr) == SQLITE_OK;
    uint64_t step = rows_each >= kManyRows ? rows_each : 1;
    for (uint64_t done = 0; ok && done < rows_each; done += step) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      int64_t from = static_cast<int64_t>(1 + (random >> 20) % (rows - step));
      sqlite3_bind_int64(update, 1, from);
      sqlite3_bind_int64(update, 2, from + static_cast<int64_t>(step) - 1);
      ok = sqlite3_step(update) == SQLITE_DONE;
      sqlite3_reset(update);
    }
    ok = ok && sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr) == SQLITE_OK;
  }
  Status status = ok ? Ok() : Status(SqlError(db_, sql));
  sqlite3_finalize(update);
  return status;
}

Status BenchWriter::AppendRows(uint64_t commits, uint64_t rows_each) {
  const std::string insert = "WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM x WHERE i < " +
                             std::to_string(rows_each) +
                             ") INSERT INTO rows(k, n, payload) SELECT i, 0, hex(randomblob(95)) FROM x";
  sqlite3_stmt* statement = nullptr;
  if (sqlite3_prepare_v2(db_, insert.c_str(), -1, &statement, nullptr) != SQLITE_OK) return SqlError(db_, insert);
  bool ok = true;
  for (uint64_t i = 0; ok && i < commits; ++i) {
    ok = sqlite3_step(statement) == SQLITE_DONE;
    sqlite3_reset(statement);
  }
  Status status = ok ? Ok() : Status(SqlError(db_, insert));
  sqlite3_finalize(statement);
  return status;
}

BenchReader::BenchReader(std::string path) : path_(std::move(path)) {
  thread_ = std::jthread([this](std::stop_token stop) { Loop(std::move(stop)); });
}

BenchReader::~BenchReader() = default;

void BenchReader::Loop(std::stop_token stop) {
  sqlite3* db = nullptr;
  sqlite3_stmt* select = nullptr;
  while (!stop.stop_requested()) {
    if (select == nullptr) {
      // The replica may not be there yet.
      if (db == nullptr && sqlite3_open_v2(path_.c_str(), &db, SQLITE_OPEN_READONLY, nullptr) != SQLITE_OK) {
        sqlite3_close(db);
        db = nullptr;
      }
      if (db != nullptr) {
        sqlite3_busy_timeout(db, 1000);
        sqlite3_prepare_v2(db, "SELECT max(id) FROM t", -1, &select, nullptr);
      }
    } else {
      if (sqlite3_step(select) == SQLITE_ROW) {
        uint64_t rows = static_cast<uint64_t>(sqlite3_column_int64(select, 0));
        if (rows > seen_at_.size()) seen_at_.resize(rows, BenchClock::now());
        rows_ = rows;
      }
      sqlite3_reset(select);
    }
    if (!SleepUntil(BenchClock::now() + std::chrono::microseconds(select == nullptr ? 10000 : 50), stop).ok()) break;
  }
  sqlite3_finalize(select);
  sqlite3_close(db);
}

bool BenchReader::Await(uint64_t rows, BenchClock::time_point deadline) {
  while (rows_ < rows) {
    if (BenchClock::now() >= deadline) return false;
    if (!SleepUntil(BenchClock::now() + std::chrono::milliseconds(1), std::stop_token()).ok()) return false;
  }
  return true;
}

std::vector<BenchClock::time_point> BenchReader::Stop() {
  thread_.request_stop();
  thread_.join();
  return std::move(seen_at_);
}

double Quantile(std::vector<double> values, double quantile) {
  if (values.empty()) return 0;
  size_t index = std::min(values.size() - 1, static_cast<size_t>(quantile * static_cast<double>(values.size())));
  std::nth_element(values.begin(), values.begin() + static_cast<ptrdiff_t>(index), values.end());
  return values[index];
}

double Median(const std::vector<double>& values) {
  if (values.size() % 2 != 0 || values.empty()) return Quantile(values, 0.5);
  std::vector<double> sorted = values;
  std::sort(sorted.begin(), sorted.end());
  return (sorted[sorted.size() / 2 - 1] + sorted[sorted.size() / 2]) / 2;
}

}  // namespace runnel::tools
