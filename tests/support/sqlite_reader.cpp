// A stock SQLite client of a ledger replica (tests/support/commit_source.h): every transaction proves that it sees one
// whole commit and that it is not older than the one before. Runs until SIGTERM, then prints what it saw as JSON; exit
// code 1 if anything was wrong.
//
// sqlite_reader DB [--read-only] [--mmap] [--churn] [--hold-ms N] [--checkpoint passive|full|restart|truncate] [--once]
#include <sqlite3.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "tests/support/commit_source.h"

namespace {

volatile std::sig_atomic_t stop_asked = 0;

struct Options {
  std::string path;
  std::string checkpoint;
  bool read_only = false;
  bool mmap = false;
  bool churn = false;
  bool once = false;
  unsigned hold_ms = 0;
};

struct Seen {
  unsigned long transactions = 0;
  unsigned long checks = 0;
  unsigned long checkpoints = 0;
  unsigned long busy = 0;
  unsigned long bad = 0;
  long long last_seq = -1;
  std::string first;
};

class Reader {
 public:
  explicit Reader(const Options& options) : options_(options) {}

  bool Open() {
    int flags = options_.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE;
    int rc = sqlite3_open_v2(options_.path.c_str(), &db_, flags, nullptr);
    if (rc != SQLITE_OK) return false;
    sqlite3_busy_timeout(db_, 5000);
    runnel::testing::AddTestFunctions(db_);
    if (options_.mmap) sqlite3_exec(db_, "PRAGMA mmap_size=268435456", nullptr, nullptr, nullptr);
    if (!options_.checkpoint.empty()) sqlite3_busy_timeout(db_, 50);
    return true;
  }
  void Close() {
    sqlite3_close(db_);
    db_ = nullptr;
  }

  void Transaction(Seen& seen) {
    sqlite3_exec(db_, "BEGIN", nullptr, nullptr, nullptr);
    std::string meta;
    if (Query("SELECT seq, cnt, tot FROM meta", meta, seen)) {
      for (int round = 0; round < (options_.hold_ms > 0 ? 3 : 1); ++round) {
        if (round > 0) usleep(options_.hold_ms * 1000 / 2);
        Check(meta, seen);
      }
      long long seq = std::atoll(meta.c_str());
      if (seq < seen.last_seq) Bad(seen, "went back from " + std::to_string(seen.last_seq) + " to " + meta);
      seen.last_seq = seq;
      ++seen.transactions;
    }
    sqlite3_exec(db_, "COMMIT", nullptr, nullptr, nullptr);
    if (!options_.checkpoint.empty()) Checkpoint(seen);
  }

 private:
  void Check(const std::string& meta, Seen& seen) {
    std::string found;
    if (Query("SELECT (SELECT seq FROM meta), count(*), coalesce(sum(bytesum(v)),0) FROM t", found, seen) &&
        found != meta) {
      Bad(seen, "rows " + found + " under " + meta);
    }
    std::string total = std::to_string(runnel::testing::kLedgerTotal);
    if (Query("SELECT (SELECT sum(bal) FROM acc) + (SELECT sum(bal) FROM sav)", found, seen) && found != total) {
      Bad(seen, "balance " + found + " under " + meta);
    }
    std::string count = meta.substr(meta.find('|') + 1);
    count = count.substr(0, count.find('|'));
    if (Query("SELECT count(*) FROM t INDEXED BY t_k WHERE k >= ''", found, seen) && found != count) {
      Bad(seen, "index has " + found + " under " + meta);
    }
    if (seen.transactions % 10 == 0 || options_.once) {
      ++seen.checks;
      if (Query("PRAGMA integrity_check", found, seen) && found != "ok") Bad(seen, "integrity " + found);
    }
  }

  void Checkpoint(Seen& seen) {
    std::string found;
    ++seen.checkpoints;
    sqlite3_exec(db_, ("PRAGMA wal_checkpoint(" + options_.checkpoint + ")").c_str(), nullptr, nullptr, nullptr);
    usleep(2000);
  }

  bool Query(const char* sql, std::string& out, Seen& seen) {
    sqlite3_stmt* statement = nullptr;
    int rc = sqlite3_prepare_v2(db_, sql, -1, &statement, nullptr);
    out.clear();
    if (rc == SQLITE_OK) {
      rc = sqlite3_step(statement);
      for (int i = 0; rc == SQLITE_ROW && i < sqlite3_column_count(statement); ++i) {
        const unsigned char* text = sqlite3_column_text(statement, i);
        if (i > 0) out += '|';
        out += text != nullptr ? reinterpret_cast<const char*>(text) : "NULL";
      }
      if (rc == SQLITE_ROW) rc = SQLITE_OK;
    }
    std::string error = sqlite3_errmsg(db_);
    int extended = sqlite3_extended_errcode(db_);
    sqlite3_finalize(statement);
    if (rc == SQLITE_OK) return true;
    if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED) {
      ++seen.busy;
    } else {
      Bad(seen, error + " (" + std::to_string(extended) + ") in " + sql);
    }
    return false;
  }

  static void Bad(Seen& seen, const std::string& what) {
    ++seen.bad;
    if (seen.first.size() < 1000) seen.first += what + "; ";
  }

  const Options& options_;
  sqlite3* db_ = nullptr;
};

Options Parse(int argc, char** argv) {
  Options options;
  options.path = argc > 1 ? argv[1] : "";
  for (int i = 2; i < argc; ++i) {
    std::string flag = argv[i];
    options.read_only |= flag == "--read-only";
    options.mmap |= flag == "--mmap";
    options.churn |= flag == "--churn";
    options.once |= flag == "--once";
    if (flag == "--hold-ms" && i + 1 < argc) options.hold_ms = static_cast<unsigned>(std::atoi(argv[++i]));
    if (flag == "--checkpoint" && i + 1 < argc) options.checkpoint = argv[++i];
  }
  return options;
}

}  // namespace

int main(int argc, char** argv) {
  Options options = Parse(argc, argv);
  std::signal(SIGTERM, [](int) { stop_asked = 1; });
  Seen seen;
  Reader reader(options);
  while (stop_asked == 0) {
    if (!reader.Open()) {
      ++seen.busy;
      reader.Close();
      if (options.once) break;
      usleep(1000);
      continue;
    }
    for (int i = 0; stop_asked == 0 && (!options.churn || i < 3); ++i) {
      reader.Transaction(seen);
      if (options.once) stop_asked = 1;
    }
    reader.Close();
  }
  for (char& c : seen.first) {
    if (c == '"' || c == '\\' || c < ' ') c = '\'';
  }
  std::printf(
      "{\"transactions\": %lu, \"checks\": %lu, \"checkpoints\": %lu, \"busy\": %lu, \"bad\": %lu, \"seq\": %lld, "
      "\"first\": \"%s\"}\n",
      seen.transactions, seen.checks, seen.checkpoints, seen.busy, seen.bad, seen.last_seq, seen.first.c_str());
  return seen.bad == 0 && (!options.once || seen.transactions == 1) ? 0 : 1;
}
