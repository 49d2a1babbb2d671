// sqlite_app DB MODE [key=value ...]: an application that writes (or disturbs) a SQLite database, for tests that run
// real writers in processes of their own and kill them. Stock libsqlite3, no knowledge of runnel.
//
// Modes: init   creates the database in WAL mode with table t (keys: ps page size, rows)
//        ins    one-row inserts, as fast as it can or `rate` a second
//        mix    transactions of 1-8 statements, rollbacks, savepoints
//        big    transactions that spill, rewrite their own pages, roll back to savepoints
//        ddl    CREATE TABLE, DROP TABLE and VACUUM
//        churn  opens and closes the connection around each insert
//        ckpt   random checkpoints of all kinds, reopening now and then;  trunc: TRUNCATE in a loop
//        reader long read transactions (`hold_us` longer)
//        ledger one commit that changes an account and the total of all;  audit: reads it (`long`: three times in a
//               transaction; `mmap`), and ends with a message at the first error, torn sum or step backwards
// Keys: secs, n (commits), rate, busy (ms), sync, auto (wal_autocheckpoint), seed, cache (cache_size), gap_us (pause
//       after each).
// Commits are counted in DB.MODE.SEED.cnt, a mapped file that survives kill -9. SIGTERM ends it. Prints one line.
#include <fcntl.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::microseconds;

volatile sig_atomic_t g_stop = 0;

struct CloseDb {
  void operator()(sqlite3* db) const { sqlite3_close(db); }
};

class App {
 public:
  App(std::string path, std::string mode, std::map<std::string, std::string> keys)
      : path_(std::move(path)), mode_(std::move(mode)), keys_(std::move(keys)), random_(Number("seed", 1) * 7919 + 1) {}

  int Run() {
    if (mode_ == "init") return Init();
    if (mode_ == "reader" || mode_ == "audit") count_ = &unused_;
    if (count_ == nullptr && !MapCounter()) return 1;
    Open();
    const Clock::time_point end = Clock::now() + std::chrono::milliseconds(static_cast<long>(Real("secs", 5) * 1000));
    const long commits_max = Number("n", 1L << 60);
    const long rate = Number("rate", 0);
    Clock::time_point next = Clock::now();
    while (g_stop == 0 && Clock::now() < end && commits_ < commits_max) {
      if (rate > 0) {
        std::this_thread::sleep_until(next);
        next += std::chrono::nanoseconds(1000000000L / rate);
      }
      Clock::time_point start = Clock::now();
      bool committed = Turn();
      if (committed) {
        ++commits_;
        *count_ = *count_ + 1;
        if (latency_.size() < kLatenciesMax) {
          latency_.push_back(std::chrono::duration<float, std::micro>(Clock::now() - start).count());
        }
      }
      Pause(Number("gap_us", 0));
    }
    Report();
    if (!bad_.empty()) std::printf("BAD %s\n", bad_.c_str());
    return bad_.empty() ? 0 : 1;
  }

 private:
  static constexpr size_t kLatenciesMax = 4000000;

  long Number(const char* key, long otherwise) const {
    auto it = keys_.find(key);
    return it == keys_.end() ? otherwise : std::strtol(it->second.c_str(), nullptr, 10);
  }
  double Real(const char* key, double otherwise) const {
    auto it = keys_.find(key);
    return it == keys_.end() ? otherwise : std::strtod(it->second.c_str(), nullptr);
  }
  std::string Text(const char* key, const char* otherwise) const {
    auto it = keys_.find(key);
    return it == keys_.end() ? otherwise : it->second;
  }
  uint64_t Random(uint64_t below) { return random_() % below; }
  void Pause(long us) {
    constexpr long kStep = 50000;  // so that SIGTERM is heard
    for (; us > 0 && g_stop == 0; us -= kStep) std::this_thread::sleep_for(microseconds(std::min(us, kStep)));
  }

  int Exec(const std::string& sql) { return sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr); }

  void Open() {
    statement_ = nullptr;
    db_.reset();
    sqlite3* db = nullptr;
    const int access = Number("ro", 0) != 0 ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE;
    sqlite3_open_v2(path_.c_str(), &db, access, nullptr);
    db_.reset(db);
    sqlite3_busy_timeout(db, static_cast<int>(Number("busy", 3000)));
    Exec("PRAGMA synchronous=" + Text("sync", "NORMAL"));
    if (Number("cache", 0) != 0) Exec("PRAGMA cache_size=" + std::to_string(Number("cache", 0)));
    if (Number("auto", -1) >= 0) Exec("PRAGMA wal_autocheckpoint=" + std::to_string(Number("auto", -1)));
  }

  bool MapCounter() {
    std::string file = path_ + "." + mode_ + "." + std::to_string(Number("seed", 1)) + ".cnt";
    int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0 || ::ftruncate(fd, sizeof(uint64_t)) != 0) return false;
    void* at = ::mmap(nullptr, sizeof(uint64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ::close(fd);
    if (at == MAP_FAILED) return false;
    count_ = static_cast<volatile uint64_t*>(at);
    return true;
  }

  int Init() {
    Open();
    int rc = Exec("PRAGMA page_size=" + std::to_string(Number("ps", 4096)) + "; PRAGMA journal_mode=WAL");
    if (rc == SQLITE_OK) rc = Exec("CREATE TABLE t(id INTEGER PRIMARY KEY, a INT, b BLOB); CREATE INDEX ti ON t(a)");
    if (rc == SQLITE_OK) {
      rc = Exec("WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM x WHERE i<=" +
                std::to_string(Number("rows", 300)) + ") INSERT INTO t(a,b) SELECT random(), randomblob(200) FROM x");
    }
    if (rc != SQLITE_OK) std::fprintf(stderr, "init: %s\n", sqlite3_errmsg(db_.get()));
    return rc == SQLITE_OK ? 0 : 1;
  }

  // One piece of work. True: a commit was acknowledged.
  bool Turn() {
    if (mode_ == "ins") return Insert();
    if (mode_ == "mix") return Mix();
    if (mode_ == "big") return Big();
    if (mode_ == "ddl") return Ddl();
    if (mode_ == "churn") {
      Open();
      bool committed = Note(Exec("INSERT INTO t(a,b) VALUES(7,randomblob(50))"));
      Pause(1000);
      return committed;
    }
    if (mode_ == "ckpt") return Checkpoint();
    if (mode_ == "trunc") return Truncate();
    if (mode_ == "reader") {
      Note(Exec("BEGIN; SELECT count(*) FROM t"));
      Pause(static_cast<long>(50000 + Random(400000)) + Number("hold_us", 0));
      Exec("COMMIT");
      return false;
    }
    if (mode_ == "ledger") return Ledger();
    if (mode_ == "audit") return Audit();
    std::fprintf(stderr, "unknown mode %s\n", mode_.c_str());
    g_stop = 1;
    return false;
  }

  // The tables of readers_test.py: account(id, balance, note), meta(n, total).
  bool Ledger() {
    const std::string row = std::to_string(commits_ % 200);
    const std::string sum = "(SELECT coalesce(sum(balance + length(note)), 0) FROM account WHERE id=" + row + ")";
    int rc = Exec("BEGIN IMMEDIATE; UPDATE meta SET n=n+1, total=total-" + sum +
                  "; INSERT OR REPLACE INTO account VALUES(" + row + "," + std::to_string(commits_) + ",zeroblob(" +
                  std::to_string(commits_ * 7919 % 90) + ")); UPDATE meta SET total=total+" + sum + "; COMMIT");
    return rc == SQLITE_OK ? true : Abandon(rc);
  }

  // The first row's first column; an error ends the audit.
  long Value(const char* sql) {
    sqlite3_stmt* statement = nullptr;
    int rc = sqlite3_prepare_v2(db_.get(), sql, -1, &statement, nullptr);
    if (rc == SQLITE_OK) rc = sqlite3_step(statement);
    const long value = rc == SQLITE_ROW ? static_cast<long>(sqlite3_column_int64(statement, 0)) : 0;
    const int ended = sqlite3_finalize(statement);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE) Bad(std::string(sql) + ": " + sqlite3_errmsg(db_.get()));
    if (ended != SQLITE_OK && rc == SQLITE_ROW) Bad(std::string(sql) + ": " + sqlite3_errmsg(db_.get()));
    return value;
  }
  void Bad(const std::string& what) {
    if (bad_.empty()) bad_ = what;
    g_stop = 1;
  }

  bool Audit() {
    if (Number("mmap", 0) != 0) Value("PRAGMA mmap_size=268435456");
    Value("BEGIN");
    const long n = Value("SELECT n FROM meta");
    for (int i = 0; i < (Number("long", 0) != 0 ? 3 : 1) && bad_.empty(); ++i) {
      if (i > 0) Pause(Number("long", 0));
      const long total = Value("SELECT total FROM meta");
      const long found = Value("SELECT coalesce(sum(balance + length(note)), 0) FROM account");
      if (bad_.empty() && total != found) Bad("torn: " + std::to_string(found) + " is not " + std::to_string(total));
    }
    if (bad_.empty() && Value("SELECT n FROM meta") != n) Bad("one transaction saw two states");
    Value("COMMIT");
    if (bad_.empty() && n < last_) Bad("backward: " + std::to_string(n) + " after " + std::to_string(last_));
    last_ = n;
    if (random_() % 100 == 0) Open();
    return bad_.empty();
  }

  bool Note(int rc) {
    if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED) {
      ++busy_;
    } else if (rc != SQLITE_OK && rc != SQLITE_DONE) {
      ++failed_;
      last_error_ = sqlite3_errmsg(db_.get());
    }
    return rc == SQLITE_OK || rc == SQLITE_DONE;
  }

  bool Insert() {
    if (statement_ == nullptr) {
      int rc = sqlite3_prepare_v2(db_.get(), "INSERT INTO t(a,b) VALUES(?1,randomblob(100))", -1, &statement_, nullptr);
      if (!Note(rc)) {
        Pause(1000);
        return false;
      }
    }
    sqlite3_bind_int64(statement_, 1, commits_);
    sqlite3_step(statement_);
    return Note(sqlite3_reset(statement_));
  }

  bool Abandon(int rc) {
    Exec("ROLLBACK");
    return Note(rc) && false;
  }

  std::string MixStatement() {
    switch (Random(5)) {
      case 0:
      case 1: return "INSERT INTO t(a,b) VALUES(random(),randomblob(" + std::to_string(Random(2000)) + "))";
      case 2:
        return "UPDATE t SET b=randomblob(" + std::to_string(Random(1000)) +
               ") WHERE id=" + std::to_string(Random(2000));
      case 3: return "DELETE FROM t WHERE id=" + std::to_string(Random(5000));
      default:
        return "SAVEPOINT x; UPDATE t SET a=a+1 WHERE id<" + std::to_string(Random(50)) + "; ROLLBACK TO x; RELEASE x";
    }
  }

  bool Mix() {
    int rc = Exec("BEGIN IMMEDIATE");
    if (rc != SQLITE_OK) return Abandon(rc);
    for (uint64_t left = 1 + Random(8); left > 0 && rc == SQLITE_OK; --left) rc = Exec(MixStatement());
    if (rc != SQLITE_OK) return Abandon(rc);
    if (Random(5) == 0) {
      Exec("ROLLBACK");
      return false;
    }
    rc = Exec("INSERT INTO t(a,b) VALUES(1,randomblob(10)); COMMIT");
    if (rc != SQLITE_OK) return Abandon(rc);
    Pause(static_cast<long>(Random(300)));
    return true;
  }

  bool Big() {
    Exec("PRAGMA cache_size=10");
    std::vector<std::string> work = {"BEGIN IMMEDIATE",
                                     "WITH RECURSIVE x(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM x WHERE i<" +
                                         std::to_string(500 + Random(4000)) +
                                         ") INSERT INTO t(a,b) SELECT random(),randomblob(300) FROM x",
                                     "UPDATE t SET a=a+1 WHERE id%7=0"};
    if (Random(2) == 0) {
      work.push_back(
          "SAVEPOINT s; UPDATE t SET a=a+5 WHERE id%3=0; ROLLBACK TO s; UPDATE t SET a=a+9 WHERE id%11=0; RELEASE s");
    }
    work.push_back("DELETE FROM t WHERE id IN (SELECT id FROM t ORDER BY random() LIMIT 2000)");
    bool commit = Random(3) != 0;
    work.push_back(commit ? "COMMIT" : "ROLLBACK");
    for (const std::string& sql : work) {
      int rc = Exec(sql);
      if (rc != SQLITE_OK) return Abandon(rc);
    }
    Pause(20000);
    return commit;
  }

  bool Ddl() {
    uint64_t table = Random(6);
    std::string sql;
    switch (Random(6)) {
      case 0: sql = "VACUUM"; break;
      case 1:
        sql = "BEGIN; DROP TABLE IF EXISTS x" + std::to_string(table) + "; INSERT INTO t(a) VALUES(3); COMMIT";
        break;
      default:
        sql = "BEGIN; CREATE TABLE IF NOT EXISTS x" + std::to_string(table) + "(a,b); INSERT INTO x" +
              std::to_string(table) + " SELECT a,b FROM t LIMIT 200; COMMIT";
    }
    int rc = Exec(sql);
    if (rc != SQLITE_OK) return Abandon(rc);
    Pause(20000);
    return true;
  }

  bool CheckpointNow(int mode) {
    Exec("PRAGMA schema_version");  // a connection that has not read yet checkpoints nothing and says OK
    return Note(sqlite3_wal_checkpoint_v2(db_.get(), "main", mode, nullptr, nullptr));
  }

  bool Checkpoint() {
    static constexpr int kModes[] = {SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL, SQLITE_CHECKPOINT_RESTART,
                                     SQLITE_CHECKPOINT_TRUNCATE};
    sqlite3_busy_timeout(db_.get(), Random(3) == 0 ? 0 : 200);
    CheckpointNow(kModes[Random(4)]) ? ++checkpoints_ : checkpoints_;
    if (Random(4) == 0) Open();
    Pause(static_cast<long>(Random(15000)));
    return false;
  }

  bool Truncate() {
    CheckpointNow(SQLITE_CHECKPOINT_TRUNCATE) ? ++checkpoints_ : checkpoints_;
    Pause(2000);
    return false;
  }

  void Report() {
    std::sort(latency_.begin(), latency_.end());
    auto quantile = [this](double q) {
      return latency_.empty() ? 0.0F
                              : latency_[std::min(latency_.size() - 1,
                                                  static_cast<size_t>(q * static_cast<double>(latency_.size())))];
    };
    std::printf("%s commits=%ld busy=%ld failed=%ld checkpoints=%ld us p50=%.1f p99=%.1f max=%.0f %s\n", mode_.c_str(),
                commits_, busy_, failed_, checkpoints_, quantile(0.5), quantile(0.99), quantile(1),
                last_error_.c_str());
    sqlite3_finalize(statement_);
  }

  const std::string path_;
  const std::string mode_;
  const std::map<std::string, std::string> keys_;
  std::mt19937_64 random_;
  std::unique_ptr<sqlite3, CloseDb> db_;
  sqlite3_stmt* statement_ = nullptr;
  volatile uint64_t* count_ = nullptr;
  volatile uint64_t unused_ = 0;
  long commits_ = 0;
  long busy_ = 0;
  long failed_ = 0;
  long checkpoints_ = 0;
  std::string last_error_;
  std::string bad_;
  long last_ = -1;
  std::vector<float> latency_;
};

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr,
                 "usage: sqlite_app DB init|ins|mix|big|ddl|churn|ckpt|trunc|reader|ledger|audit [key=value ...]\n");
    return 2;
  }
  ::signal(SIGTERM, [](int) { g_stop = 1; });
  std::map<std::string, std::string> keys;
  for (int i = 3; i < argc; ++i) {
    std::string argument = argv[i];
    size_t equals = argument.find('=');
    if (equals != std::string::npos) keys[argument.substr(0, equals)] = argument.substr(equals + 1);
  }
  return App(argv[1], argv[2], std::move(keys)).Run();
}
