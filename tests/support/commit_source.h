// A scratch SQLite database whose commits come out as page sets: real SQL in, what a publisher would send out. Follows
// the WAL of its own, only connection.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/format/types.h"

struct sqlite3;

namespace runnel::testing {

struct SourcePage {
  Pgno pgno;
  std::vector<std::byte> bytes;
};

struct SourceCommit {
  Position post;
  uint32_t page_count = 0;
  std::vector<SourcePage> pages;  // ascending
};

class CommitSource {
 public:
  // `setup` runs in rollback mode before the database enters WAL mode; position() is then TXID 1.
  CommitSource(const std::string& path, uint32_t page_size, const std::string& setup);
  ~CommitSource();
  CommitSource(const CommitSource&) = delete;
  CommitSource& operator=(const CommitSource&) = delete;

  // SQL that commits exactly once.
  SourceCommit Run(const std::string& sql);

  const Position& position() const { return position_; }
  PageSize page_size() const { return PageSize(page_size_); }
  uint32_t page_count() const { return static_cast<uint32_t>(image_.size()); }
  const std::vector<std::byte>& page(Pgno pgno) const { return image_[pgno.raw() - 1]; }
  // The whole image as one commit.
  SourceCommit Snapshot() const;

 private:
  void Exec(const std::string& sql);
  std::vector<std::byte> ReadPageOfFile(uint32_t pgno);
  void Put(uint32_t pgno, std::vector<std::byte> bytes);

  const std::string path_;
  const uint32_t page_size_;
  sqlite3* db_ = nullptr;
  std::vector<std::vector<std::byte>> image_;
  Position position_;
  uint32_t frames_read_ = 0;
};

// Adds bytesum(x) (sum over all bytes, so that content damage shows) and seededblob(seed, n).
void AddTestFunctions(sqlite3* db);

// The page sets of `from`..`to` as one: newest bytes of each page that the last one still has.
SourceCommit Union(const std::vector<SourceCommit>& commits, size_t from, size_t to);

// Commits in a file, to be read by another process. commits[0] is a whole image.
void SaveCommits(const std::string& path, uint32_t page_size, const std::vector<SourceCommit>& commits);
std::vector<SourceCommit> LoadCommits(const std::string& path, uint32_t& page_size);

// Accounts whose sum never changes, blobs of all sizes with overflow chains, tables that come and go, VACUUM; and in
// each commit one row "meta" that says what a reader of this snapshot has to find.
inline constexpr int kLedgerTotal = 100000;
std::string LedgerSetup(int auto_vacuum);
std::string LedgerStep(uint64_t seed, uint64_t step);

}  // namespace runnel::testing
