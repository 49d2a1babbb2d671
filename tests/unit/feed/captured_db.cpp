#include "tests/unit/feed/captured_db.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>

#include "ltx/base/check.h"
#include "ltx/sqlite/wal_format.h"

namespace runnel::testing {
namespace {

void RandomBlob(sqlite3_context* context, int, sqlite3_value** argv) {
  Random& random = *static_cast<Random*>(sqlite3_user_data(context));
  std::string bytes(static_cast<size_t>(sqlite3_value_int64(argv[0])), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random.Word());
  sqlite3_result_blob(context, bytes.data(), static_cast<int>(bytes.size()), SQLITE_TRANSIENT);
}

void RandomText(sqlite3_context* context, int, sqlite3_value** argv) {
  Random& random = *static_cast<Random*>(sqlite3_user_data(context));
  static const char* const kParts[] = {"a", "B", "z", " ", "\xC3\xA9", "\xE4\xB8\xAD", "\xF0\x9F\x98\x80", "0", "'"};
  size_t size = static_cast<size_t>(sqlite3_value_int64(argv[0]));
  std::string text;
  while (text.size() < size) text += kParts[random.Below(random.Chance(66) ? 4 : 9)];
  sqlite3_result_text(context, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
}

// An order nobody but the application knows.
int Backwards(void*, int a_bytes, const void* a, int b_bytes, const void* b) {
  int order = std::memcmp(a, b, static_cast<size_t>(std::min(a_bytes, b_bytes)));
  return order != 0 ? -order : b_bytes - a_bytes;
}

}  // namespace

std::string QuotedName(const std::string& name) {
  std::string out = "\"";
  for (char c : name) out += c == '"' ? std::string("\"\"") : std::string(1, c);
  return out + "\"";
}

std::string DbSettings::ToString() const {
  return "page_size " + std::to_string(page_size) + " auto_vacuum " + std::to_string(auto_vacuum) + " " + encoding +
         " secure_delete " + std::to_string(secure_delete) + " reserved " + std::to_string(reserved_bytes) + " cache " +
         std::to_string(cache_pages) + " foreign_keys " + std::to_string(foreign_keys);
}

CapturedDb::CapturedDb(std::string path, const DbSettings& settings, Random& random) : path_(std::move(path)) {
  CHECK(sqlite3_open(path_.c_str(), &db_) == SQLITE_OK, path_);
  sqlite3_create_function(db_, "rb", 1, SQLITE_UTF8, &random, RandomBlob, nullptr, nullptr);
  sqlite3_create_function(db_, "rt", 1, SQLITE_UTF8, &random, RandomText, nullptr, nullptr);
  sqlite3_create_collation(db_, "REV", SQLITE_UTF8, nullptr, Backwards);
  (void)Exec("PRAGMA page_size=" + std::to_string(settings.page_size));
  (void)Exec("PRAGMA auto_vacuum=" + std::to_string(settings.auto_vacuum) + "; PRAGMA encoding='" + settings.encoding +
             "'");
  // Debian compiles SECURE_DELETE in: without this no freed page would keep its bytes, and half of the traps would be
  // out of sight.
  (void)Exec("PRAGMA secure_delete=" + std::to_string(settings.secure_delete));
  int reserved = settings.reserved_bytes;
  if (reserved != 0) sqlite3_file_control(db_, "main", SQLITE_FCNTL_RESERVE_BYTES, &reserved);
  (void)Exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0");
  (void)Exec("PRAGMA cache_size=" + std::to_string(settings.cache_pages) +
             "; PRAGMA foreign_keys=" + std::to_string(settings.foreign_keys));
  (void)Exec("CREATE TABLE seed0(x); DROP TABLE seed0; PRAGMA wal_checkpoint(TRUNCATE)");
  page_size_ = static_cast<uint32_t>(Number("PRAGMA page_size"));
  std::ifstream file(path_, std::ios::binary);
  image_.assign(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  wal_ = open((path_ + "-wal").c_str(), O_RDONLY | O_CLOEXEC);
  // Opening and closing the -shm file takes the locks of this process away, which a single connection can bear.
  shm_ = open((path_ + "-shm").c_str(), O_RDONLY | O_CLOEXEC);
  CHECK(wal_ >= 0 && shm_ >= 0 && !image_.empty(), path_);
}

CapturedDb::~CapturedDb() {
  sqlite3_close_v2(db_);
  close(wal_);
  close(shm_);
}

std::string CapturedDb::Exec(const std::string& sql) {
  char* message = nullptr;
  int rc = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, &message);
  std::string out = rc == SQLITE_OK ? "" : message != nullptr ? message : "error";
  sqlite3_free(message);
  return out;
}

int64_t CapturedDb::Number(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  int64_t number = 0;
  if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) == SQLITE_OK &&
      sqlite3_step(statement) == SQLITE_ROW) {
    number = sqlite3_column_int64(statement, 0);
  }
  sqlite3_finalize(statement);
  return number;
}

std::vector<std::string> CapturedDb::Texts(const std::string& sql) {
  sqlite3_stmt* statement = nullptr;
  std::vector<std::string> texts;
  if (sqlite3_prepare_v2(db_, sql.c_str(), -1, &statement, nullptr) == SQLITE_OK) {
    while (sqlite3_step(statement) == SQLITE_ROW) {
      const char* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, 0));
      texts.push_back(text == nullptr ? ""
                                      : std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement, 0))));
    }
  }
  sqlite3_finalize(statement);
  return texts;
}

uint32_t CapturedDb::MaxFrame() {
  uint32_t max_frame = 0;
  CHECK(pread(shm_, &max_frame, 4, offsetof(sqlite::WalIndexHeader, max_frame)) == 4, "wal-index");
  return max_frame;
}

std::vector<CapturedCommit> CapturedDb::Take(bool merged) {
  std::vector<CapturedCommit> commits;
  CapturedCommit commit;
  uint32_t max_frame = MaxFrame();
  std::string frame(sqlite::kFrameHeaderBytes + page_size_, '\0');
  while (frames_taken_ < max_frame) {
    ++frames_taken_;
    off_t offset = static_cast<off_t>(sqlite::FrameOffset(frames_taken_, page_size_));
    CHECK(pread(wal_, frame.data(), frame.size(), offset) == static_cast<ssize_t>(frame.size()), "frame");
    sqlite::FrameHeader header = sqlite::ParseFrameHeader(AsBytes(frame));
    commit.pages[Pgno(header.pgno)] = frame.substr(sqlite::kFrameHeaderBytes);
    commit.page_count = header.commit_pages;
    if (header.commit_pages == 0 || (merged && frames_taken_ < max_frame)) continue;
    commit.pages.erase(commit.pages.upper_bound(Pgno(commit.page_count)), commit.pages.end());
    commits.push_back(std::move(commit));
    commit = CapturedCommit();
  }
  return commits;
}

void CapturedDb::Checkpoint() {
  (void)Exec("PRAGMA wal_checkpoint(TRUNCATE)");
  CHECK(MaxFrame() == 0, "the WAL is not empty after a checkpoint");
  frames_taken_ = 0;
}

void CapturedDb::Apply(const CapturedCommit& commit) {
  image_.resize(size_t{commit.page_count} * page_size_);
  for (const auto& page : commit.pages)
    image_.replace(size_t{page.first.raw() - 1} * page_size_, page_size_, page.second);
}

}  // namespace runnel::testing
