#include "tests/support/commit_source.h"

#include <sqlite3.h>

#include <algorithm>
#include <cstdio>
#include <fstream>
#include <iterator>
#include <map>
#include <random>
#include <sstream>

#include "ltx/base/check.h"
#include "ltx/format/checksum.h"
#include "ltx/sqlite/wal_format.h"

namespace runnel::testing {
namespace {

void ByteSum(sqlite3_context* context, int, sqlite3_value** argv) {
  const unsigned char* bytes = static_cast<const unsigned char*>(sqlite3_value_blob(argv[0]));
  int size = sqlite3_value_bytes(argv[0]);
  uint32_t sum = 0;
  for (int i = 0; i < size; ++i) sum = sum * 31 + bytes[i];
  sqlite3_result_int64(context, sum);
}

void SeededBlob(sqlite3_context* context, int, sqlite3_value** argv) {
  std::mt19937 random(static_cast<uint32_t>(sqlite3_value_int64(argv[0])));
  std::string bytes(static_cast<size_t>(sqlite3_value_int(argv[1])), '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  sqlite3_result_blob(context, bytes.data(), static_cast<int>(bytes.size()), SQLITE_TRANSIENT);
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>()};
}

void Append32(std::string& out, uint32_t v) { AppendBe32(out, v); }

}  // namespace

void AddTestFunctions(sqlite3* db) {
  sqlite3_create_function(db, "bytesum", 1, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr, ByteSum, nullptr, nullptr);
  sqlite3_create_function(db, "seededblob", 2, SQLITE_UTF8 | SQLITE_DETERMINISTIC, nullptr, SeededBlob, nullptr,
                          nullptr);
}

CommitSource::CommitSource(const std::string& path, uint32_t page_size, const std::string& setup)
    : path_(path), page_size_(page_size) {
  CHECK(sqlite3_open(path.c_str(), &db_) == SQLITE_OK, path);
  AddTestFunctions(db_);
  Exec("PRAGMA page_size=" + std::to_string(page_size) + ";" + setup);
  Exec("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF; PRAGMA wal_autocheckpoint=0; PRAGMA wal_checkpoint(TRUNCATE)");
  sqlite3_int64 bytes = 0;
  sqlite3_file* file = nullptr;
  sqlite3_file_control(db_, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  file->pMethods->xFileSize(file, &bytes);
  position_ = {Txid(1), Checksum::Empty()};
  image_.resize(static_cast<size_t>(bytes) / page_size);
  for (uint32_t pgno = 1; pgno <= image_.size(); ++pgno) Put(pgno, ReadPageOfFile(pgno));
}

CommitSource::~CommitSource() { sqlite3_close(db_); }

void CommitSource::Exec(const std::string& sql) {
  int rc = sqlite3_exec(db_, sql.c_str(), nullptr, nullptr, nullptr);
  CHECK(rc == SQLITE_OK, sql + ": " + sqlite3_errmsg(db_));
}

std::vector<std::byte> CommitSource::ReadPageOfFile(uint32_t pgno) {
  sqlite3_file* file = nullptr;
  sqlite3_file_control(db_, "main", SQLITE_FCNTL_FILE_POINTER, &file);
  std::vector<std::byte> bytes(page_size_);  // a short read leaves zeros
  (void)file->pMethods->xRead(file, bytes.data(), static_cast<int>(page_size_), sqlite3_int64{pgno - 1} * page_size_);
  return bytes;
}

void CommitSource::Put(uint32_t pgno, std::vector<std::byte> bytes) {
  if (Pgno(pgno) == LockPage(PageSize(page_size_))) return;
  std::vector<std::byte>& page = image_[pgno - 1];
  if (!page.empty()) position_.checksum = position_.checksum.Toggle(ltx::PageChecksum(Pgno(pgno), page));
  position_.checksum = position_.checksum.Toggle(ltx::PageChecksum(Pgno(pgno), bytes));
  page = std::move(bytes);
}

SourceCommit CommitSource::Run(const std::string& sql) {
  Exec(sql);
  std::string wal = ReadAll(path_ + "-wal");
  std::map<uint32_t, std::vector<std::byte>> pages;
  size_t frame_bytes = sqlite::kFrameHeaderBytes + page_size_;
  uint32_t new_count = 0;
  while (new_count == 0) {
    uint64_t offset = sqlite::FrameOffset(frames_read_ + 1, page_size_);
    CHECK(offset + frame_bytes <= wal.size(), "no commit in: " + sql);
    Bytes frame = AsBytes(wal).subspan(offset, frame_bytes);
    sqlite::FrameHeader header = sqlite::ParseFrameHeader(frame);
    Bytes page = frame.subspan(sqlite::kFrameHeaderBytes);
    pages[header.pgno].assign(page.begin(), page.end());
    new_count = header.commit_pages;
    ++frames_read_;
  }
  uint32_t old_count = page_count();
  for (uint32_t pgno = old_count + 1; pgno <= new_count; ++pgno) {
    if (pages.count(pgno) == 0) pages[pgno] = ReadPageOfFile(pgno);
  }
  for (uint32_t pgno = new_count + 1; pgno <= old_count; ++pgno) {
    position_.checksum = position_.checksum.Toggle(ltx::PageChecksum(Pgno(pgno), page(Pgno(pgno))));
  }
  image_.resize(new_count);
  SourceCommit commit;
  commit.page_count = new_count;
  for (auto& entry : pages) {
    if (entry.first > new_count) continue;
    Put(entry.first, entry.second);
    commit.pages.push_back({Pgno(entry.first), std::move(entry.second)});
  }
  position_.txid = position_.txid.Next();
  commit.post = position_;
  if (wal.size() > size_t{8} << 20) {
    Exec("PRAGMA wal_checkpoint(TRUNCATE)");
    frames_read_ = 0;
  }
  return commit;
}

SourceCommit CommitSource::Snapshot() const {
  SourceCommit commit{.post = position_, .page_count = page_count(), .pages = {}};
  for (uint32_t pgno = 1; pgno <= page_count(); ++pgno) {
    if (Pgno(pgno) != LockPage(page_size())) commit.pages.push_back({Pgno(pgno), image_[pgno - 1]});
  }
  return commit;
}

SourceCommit Union(const std::vector<SourceCommit>& commits, size_t from, size_t to) {
  std::map<uint32_t, std::vector<std::byte>> pages;
  for (size_t i = from; i <= to; ++i) {
    for (const SourcePage& page : commits[i].pages) pages[page.pgno.raw()] = page.bytes;
    pages.erase(pages.upper_bound(commits[i].page_count), pages.end());
  }
  SourceCommit result{.post = commits[to].post, .page_count = commits[to].page_count, .pages = {}};
  for (auto& entry : pages) result.pages.push_back({Pgno(entry.first), std::move(entry.second)});
  return result;
}

void SaveCommits(const std::string& path, uint32_t page_size, const std::vector<SourceCommit>& commits) {
  std::ofstream file(path, std::ios::binary);
  std::string out;
  Append32(out, page_size);
  Append32(out, static_cast<uint32_t>(commits.size()));
  for (const SourceCommit& commit : commits) {
    AppendBe64(out, commit.post.txid.raw());
    AppendBe64(out, commit.post.checksum.raw());
    Append32(out, commit.page_count);
    Append32(out, static_cast<uint32_t>(commit.pages.size()));
    for (const SourcePage& page : commit.pages) {
      Append32(out, page.pgno.raw());
      out.append(AsText(page.bytes));
    }
    file << out;
    out.clear();
  }
}

std::vector<SourceCommit> LoadCommits(const std::string& path, uint32_t& page_size) {
  std::string bytes = ReadAll(path);
  ByteReader in(AsBytes(bytes));
  page_size = in.Be32();
  std::vector<SourceCommit> commits(in.Be32());
  for (SourceCommit& commit : commits) {
    Txid txid(in.Be64());
    commit.post = {txid, Checksum(in.Be64())};
    commit.page_count = in.Be32();
    commit.pages.resize(in.Be32());
    for (SourcePage& page : commit.pages) {
      page.pgno = Pgno(in.Be32());
      Bytes content = in.Raw(page_size);
      page.bytes.assign(content.begin(), content.end());
    }
  }
  CHECK(!in.failed(), path);
  return commits;
}

std::string LedgerSetup(int auto_vacuum) {
  return "PRAGMA auto_vacuum=" + std::to_string(auto_vacuum) + R"sql(;
    CREATE TABLE meta(id INTEGER PRIMARY KEY, seq INT, cnt INT, tot INT);
    INSERT INTO meta VALUES(1, 0, 0, 0);
    CREATE TABLE acc(id INTEGER PRIMARY KEY, bal INT);
    CREATE TABLE sav(id INTEGER PRIMARY KEY, bal INT);
    CREATE TABLE t(id INTEGER PRIMARY KEY, k TEXT, v BLOB);
    CREATE INDEX t_k ON t(k);
    WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99)
      INSERT INTO acc SELECT i, 500 FROM n;
    INSERT INTO sav SELECT id, 500 FROM acc;)sql";
}

std::string LedgerStep(uint64_t seed, uint64_t step) {
  std::mt19937_64 random(seed * 1000003 + step);
  auto below = [&random](uint64_t n) { return std::to_string(random() % n); };
  if (step > 5 && random() % 60 == 0) return "VACUUM";
  std::ostringstream sql;
  sql << "BEGIN;";
  for (uint64_t i = 0; i <= random() % 3; ++i) {
    std::string amount = below(20);
    sql << "UPDATE acc SET bal=bal-" << amount << " WHERE id=" << below(100) << ";";
    sql << "UPDATE sav SET bal=bal+" << amount << " WHERE id=" << below(100) << ";";
  }
  uint64_t kind = random() % 100;
  if (kind < 50) {
    for (uint64_t i = 0; i <= random() % 4; ++i) {
      sql << "INSERT INTO t(k, v) VALUES('k" << below(1000) << "', seededblob(" << below(1u << 30) << ", "
          << (random() % 3 == 0 ? below(12000) : below(300)) << "));";
    }
  } else if (kind < 65) {
    sql << "UPDATE t SET v=seededblob(id + " << below(1u << 20) << ", " << below(9000) << "), k='u" << below(1000)
        << "' WHERE id % 7 = " << below(7) << ";";
  } else if (kind < 88) {
    sql << "DELETE FROM t WHERE id % 5 = " << below(5) << ";";
  } else if (kind < 93) {
    std::string name = "x" + below(5);
    sql << "CREATE TABLE IF NOT EXISTS " << name << "(a INTEGER PRIMARY KEY, b);";
    sql << "INSERT INTO " << name << "(b) SELECT v FROM t LIMIT 20;";
    sql << "CREATE INDEX IF NOT EXISTS i" << name << " ON " << name << "(b);";
  } else if (kind < 97) {
    sql << "DROP TABLE IF EXISTS x" << below(5) << ";";
  } else {
    sql << "REINDEX;";
  }
  sql << "UPDATE meta SET seq=seq+1, cnt=(SELECT count(*) FROM t), tot=(SELECT coalesce(sum(bytesum(v)),0) FROM "
         "t);COMMIT";
  return sql.str();
}

}  // namespace runnel::testing
