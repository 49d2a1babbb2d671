// runnel bench restore: how long a restore takes beside `cp` and sync of the same file, beside Litestream's, and from
// S3 beside what the server can send (curl, the same bytes in as many requests at once), taken in turn on the same
// archive in the same run. Each is a process of its own; all read what is in the page cache.
#include "tools/bench_restore.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

#include "ltx/base/bytes.h"
#include "ltx/base/fs.h"
#include "ltx/base/time.h"
#include "ltx/format/encoder.h"
#include "subscriber/archive/layout.h"
#include "subscriber/archive/store/open.h"
#include "subscriber/archive/store/url.h"
#include "tools/bench_parts.h"
#include "tools/command.h"
#include "tools/version.h"

namespace runnel::tools {
namespace {

constexpr uint32_t kPageBytes = 4096;

// Rows as applications keep them: words, numbers, some bytes that no compressor helps with. LZ4 makes about half of it.
class RowText {
 public:
  std::string Next() {
    std::string row = "{\"id\":" + std::to_string(++count_) + ",\"session\":\"";
    for (int i = 0; i < 4; ++i) row += std::to_string(random_());
    row += "\",\"text\":\"";
    for (int i = 0; i < 60; ++i) row += kWords[random_() % std::size(kWords)];
    return row + "\"}";
  }

 private:
  static constexpr const char* kWords[] = {"order ", "customer ", "paid ",  "invoice ", "shipped ", "returned ",
                                           "green ", "parcel ",   "north ", "harbour ", "seven ",   "weekly ",
                                           "small ", "bicycle ",  "glass ", "evening "};
  std::mt19937_64 random_{42};
  uint64_t count_ = 0;
};

Status MakeDatabase(const std::string& path, uint64_t bytes) {
  sqlite3* db = nullptr;
  const int opened = sqlite3_open(path.c_str(), &db);
  const std::unique_ptr<sqlite3, int (*)(sqlite3*)> owned(db, &sqlite3_close);
  auto failed = [&](const char* what) { return Error(Errc::kIo, std::string(what) + ": " + sqlite3_errmsg(db)); };
  if (opened != SQLITE_OK) return failed("open");
  const char* schema =
      "PRAGMA page_size=4096; PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; PRAGMA cache_size=-65536;"
      "CREATE TABLE t(id INTEGER PRIMARY KEY, row TEXT);";
  if (sqlite3_exec(db, schema, nullptr, nullptr, nullptr) != SQLITE_OK) return failed("schema");
  sqlite3_stmt* insert = nullptr;
  sqlite3_prepare_v2(db, "INSERT INTO t(row) VALUES(?)", -1, &insert, nullptr);
  const std::unique_ptr<sqlite3_stmt, int (*)(sqlite3_stmt*)> statement(insert, &sqlite3_finalize);
  RowText text;
  sqlite3_exec(db, "BEGIN", nullptr, nullptr, nullptr);
  for (uint64_t written = 0; written < bytes;) {
    const std::string row = text.Next();
    sqlite3_bind_text(insert, 1, row.data(), static_cast<int>(row.size()), SQLITE_STATIC);
    if (sqlite3_step(insert) != SQLITE_DONE) return failed("insert");
    sqlite3_reset(insert);
    written += row.size();
  }
  if (sqlite3_exec(db, "COMMIT", nullptr, nullptr, nullptr) != SQLITE_OK) return failed("commit");
  return Ok();
}

class StoreSink : public ltx::ByteSink {
 public:
  explicit StoreSink(store::ObjectWriter& writer) : writer_(writer) {}
  Status Write(Bytes bytes) override {
    buffer_.append(AsText(bytes));
    return buffer_.size() < kBufferBytes ? Ok() : Flush();
  }
  Status Flush() {
    Status written = writer_.Write(AsBytes(buffer_));
    buffer_.clear();
    return written;
  }

 private:
  static constexpr size_t kBufferBytes = 1 << 20;
  store::ObjectWriter& writer_;
  std::string buffer_;
};

struct BenchArchive {
  std::string key;
  uint64_t bytes = 0;
};

// The file as the snapshot of TXID 1, as Litestream would write it.
Result<BenchArchive> ArchiveSnapshot(const std::string& path, const std::string& url) {
  TRY_ASSIGN(const archive::Layout layout, archive::Layout::ForUrl(url));
  TRY_ASSIGN(const std::unique_ptr<store::ObjectStore> store, store::OpenStore(url));
  const archive::ObjectName name{archive::ObjectKind::kLevel, archive::kSnapshotLevel, Txid(1), Txid(1)};
  store::PutOptions put;
  put.timestamp = SystemClock().Wall();
  TRY_ASSIGN(const std::unique_ptr<store::ObjectWriter> writer, store->StartPut(layout.Key(name), put));
  TRY_ASSIGN(const File file, File::OpenRead(path));
  TRY_ASSIGN(const uint64_t bytes, file.Size());
  StoreSink sink(*writer);
  ltx::Encoder encoder(sink);
  ltx::Header header;
  header.no_checksum = true;
  header.page_size = PageSize(kPageBytes);
  header.commit = static_cast<uint32_t>(bytes / kPageBytes);
  header.min_txid = header.max_txid = Txid(1);
  header.timestamp_ms =
      std::chrono::duration_cast<std::chrono::milliseconds>(put.timestamp->time_since_epoch()).count();
  TRY(encoder.Begin(header));
  std::vector<std::byte> page(kPageBytes);
  for (uint32_t pgno = 1; pgno <= header.commit; ++pgno) {
    if (Pgno(pgno) == LockPage(header.page_size)) continue;
    TRY(file.ReadExactAt(uint64_t{pgno - 1} * kPageBytes, page));
    TRY(encoder.AddPage(Pgno(pgno), page));
  }
  TRY(encoder.Finish(Checksum()));
  TRY(sink.Flush());
  TRY(writer->Commit());
  return BenchArchive{layout.Key(name), encoder.bytes_written()};
}

// What reads an object of an S3 server with an endpoint of its own as fast as it is sent; empty for other archives.
Result<std::vector<std::string>> CurlOf(const std::string& archive_url, const BenchArchive& archive) {
  TRY_ASSIGN(const store::Url url, store::ParseUrl(archive_url));
  const auto endpoint = url.query.find("endpoint");
  if (url.scheme != "s3" || endpoint == url.query.end()) return std::vector<std::string>();
  const std::string prefix = url.prefix.empty() ? "" : url.prefix + "/";
  const std::string object = endpoint->second + "/" + url.bucket + "/" + prefix + archive.key;
  const auto region = url.query.find("region");
  // curl would sign a body's checksum that the server wants named.
  const char* script =
      "i=0; pids=; while [ $i -lt 8 ]; do "
      "from=$(($2 * i / 8)); i=$((i + 1)); to=$(($2 * i / 8 - 1)); "
      "curl -sf --aws-sigv4 \"aws:amz:$3:s3\" --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" "
      "-H 'x-amz-content-sha256: UNSIGNED-PAYLOAD' -r $from-$to -o /dev/null \"$1\" & pids=\"$pids $!\"; done; "
      "for pid in $pids; do wait $pid || exit 1; done";
  return std::vector<std::string>{"sh",
                                  "-c",
                                  script,
                                  "sh",
                                  object,
                                  std::to_string(archive.bytes),
                                  region == url.query.end() ? "us-east-1" : region->second};
}

struct Timed {
  double seconds = 0;
  double cpu_seconds = 0;
  long peak_rss_kib = 0;
};

Result<Timed> RunTimed(const std::vector<std::string>& argv, const std::string& log) {
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  const BenchClock::time_point started = BenchClock::now();
  const pid_t pid = ::fork();
  if (pid < 0) return ErrnoError(errno, "fork");
  if (pid == 0) {
    const int fd = ::open(log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0644);
    ::dup2(fd, 1);
    ::dup2(fd, 2);
    ::unsetenv("AWS_CA_BUNDLE");  // Litestream refuses to start with it
    ::execvp(args[0], args.data());
    ::_exit(127);
  }
  int status = 0;
  rusage used = {};
  if (::wait4(pid, &status, 0, &used) < 0) return ErrnoError(errno, "wait");
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    return Error(Errc::kIo, argv[0] + " failed; see " + log);
  }
  auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  Timed timed;
  timed.seconds = std::chrono::duration<double>(BenchClock::now() - started).count();
  timed.cpu_seconds = seconds(used.ru_utime) + seconds(used.ru_stime);
  timed.peak_rss_kib = used.ru_maxrss;
  return timed;
}

Result<bool> SameBytes(const std::string& one, const std::string& other) {
  TRY_ASSIGN(const File a, File::OpenRead(one));
  TRY_ASSIGN(const File b, File::OpenRead(other));
  std::vector<std::byte> left(1 << 20);
  std::vector<std::byte> right(left.size());
  for (uint64_t offset = 0;; offset += left.size()) {
    TRY_ASSIGN(const size_t got, a.ReadAt(offset, left));
    TRY_ASSIGN(const size_t got_other, b.ReadAt(offset, right));
    if (got != got_other || !std::equal(left.begin(), left.begin() + static_cast<std::ptrdiff_t>(got), right.begin()))
      return false;
    if (got == 0) return true;
  }
}

// Who makes the file (or only reads the archive), and how long each time.
struct Contender {
  std::string name;
  std::vector<std::string> argv;
  std::vector<Timed> runs;
  bool makes_file = true;
};

double MedianSeconds(const Contender& contender) {
  std::vector<double> seconds;
  for (const Timed& run : contender.runs) seconds.push_back(run.seconds);
  return Median(seconds);
}

// `mib` of what it makes, or else reads.
nlohmann::json ToJson(const Contender& contender, double mib, double cp_seconds) {
  nlohmann::json json = {{"seconds", nlohmann::json::array()}, {"cpu_seconds", nlohmann::json::array()}};
  long peak = 0;
  for (const Timed& run : contender.runs) {
    json["seconds"].push_back(run.seconds);
    json["cpu_seconds"].push_back(run.cpu_seconds);
    peak = std::max(peak, run.peak_rss_kib);
  }
  const double median = MedianSeconds(contender);
  json["seconds_median"] = median;
  json["mib_per_s_median"] = mib / median;
  if (contender.makes_file) json["rate_to_cp"] = cp_seconds / median;
  json["peak_rss_kib"] = peak;
  return json;
}

Result<nlohmann::json> Measure(const RestoreBenchOptions& options) {
  BenchDir dir;
  const std::string source = dir / "source.db";
  const std::string output = dir / "output.db";
  const std::string url = options.archive.empty() ? "file://" + (dir / "archive") : options.archive;
  std::fprintf(stderr, "bench: a database of %llu MiB and its archive ...\n",
               static_cast<unsigned long long>(options.mib));
  TRY(MakeDatabase(source, options.mib << 20));
  TRY_ASSIGN(const BenchArchive archive, ArchiveSnapshot(source, url));
  ::sync();
  const std::string self = std::filesystem::read_symlink("/proc/self/exe").string();
  std::vector<Contender> contenders = {
      {"cp", {"sh", "-c", "cp --reflink=never \"$1\" \"$2\" && sync \"$2\"", "sh", source, output}, {}},
      {"runnel", {self, "restore", "--json", url, "-o", output}, {}}};
  if (!options.litestream.empty()) {
    contenders.push_back({"litestream", {options.litestream, "restore", "-o", output, url}, {}});
  }
  TRY_ASSIGN(std::vector<std::string> curl, CurlOf(url, archive));
  if (!curl.empty()) contenders.push_back({"curl", std::move(curl), {}, false});
  const std::string log = dir / "log";
  for (int run = 0; run < options.runs; ++run) {
    for (size_t i = 0; i < contenders.size(); ++i) {
      Contender& contender = contenders[(i + static_cast<size_t>(run)) % contenders.size()];
      std::fprintf(stderr, "bench: %s, run %d ...\n", contender.name.c_str(), run + 1);
      TRY_ASSIGN(Timed timed, RunTimed(contender.argv, log));
      contender.runs.push_back(timed);
      if (!contender.makes_file) continue;
      TRY_ASSIGN(const bool same, SameBytes(source, output));
      if (!same) return Error(Errc::kCorrupt, contender.name + " made another file than the source");
      TRY(RemoveFile(output));
      ::sync();
    }
  }
  TRY_ASSIGN(const File file, File::OpenRead(source));
  TRY_ASSIGN(const uint64_t bytes, file.Size());
  const double mib = static_cast<double>(bytes) / (1 << 20);
  const double archive_mib = static_cast<double>(archive.bytes) / (1 << 20);
  nlohmann::json report = {{"version", kVersion},
                           {"cores", ::sysconf(_SC_NPROCESSORS_ONLN)},
                           {"database_mib", mib},
                           {"archive_mib", archive_mib},
                           {"runs", options.runs}};
  const double cp_seconds = MedianSeconds(contenders.front());
  for (const Contender& contender : contenders) {
    report[contender.name] = ToJson(contender, contender.makes_file ? mib : archive_mib, cp_seconds);
  }
  // What the archive's bytes came at, to be held against what the server sends.
  report["runnel"]["archive_mib_per_s_median"] = archive_mib / MedianSeconds(contenders[1]);
  return report;
}

}  // namespace

int BenchRestore(const RestoreBenchOptions& options) {
  Result<nlohmann::json> report = Measure(options);
  if (!report.ok()) return Fail(report.error());
  std::printf("%s\n", report->dump(2).c_str());
  return kExitOk;
}

}  // namespace runnel::tools
