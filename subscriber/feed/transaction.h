// Row changes from pages: the feed keeps what must be known between commits, a transaction is one commit being read.
//
//   TRY_ASSIGN(std::unique_ptr<Feed> feed, Feed::Open(image, options));
//   TRY_ASSIGN(std::unique_ptr<Transaction> transaction, feed->Begin({txid, before, after, pages}));
//   while (...) { TRY_ASSIGN(bool more, transaction->Next(change)); if (!more) break; ... }
//   transaction->Finish();
//
// I1  The state of the feed is that of one image, and moves to the next one in Finish alone, which cannot fail. A
//     commit that is refused anywhere, or not finished, leaves it as it was, and the same commit can be begun again.
// I2  The same commit gives the same changes with the same ordinals, every time.
// I3  `pages` are all pages of the commit, byte-equal ones included; the images have been verified (checksums) by
//     whoever brings them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/types.h"
#include "ltx/sqlite/btree.h"
#include "subscriber/feed/known_leaves.h"
#include "subscriber/feed/page_map.h"
#include "subscriber/feed/schema_change.h"
#include "subscriber/feed/table_diff.h"

namespace runnel::feed {

struct FeedOptions {
  // Tables whose rows are reported; changes of the schema always are. Default: ordinary ones.
  std::function<bool(const TableDef&)> wants = [](const TableDef& table) {
    return table.kind == TableDef::Kind::kOrdinary;
  };
  TableDiffLimits limits;
  uint64_t hash_seed = 0;  // 0: a random one
  Shortcuts shortcuts;     // tests only
};

struct FeedCommit {
  Txid txid;
  const sqlite::PageSource& before;
  const sqlite::PageSource& after;
  const std::vector<Pgno>& pages;
  KnownDifferences differences = {};  // of any of these pages
};

// One of both. LIFETIME: until the next call.
struct Change {
  uint64_t ordinal = 0;  // from 1 within the commit
  const SchemaChange* schema = nullptr;
  const RowChange* row = nullptr;
};

class Transaction;

// THREAD: one.
class Feed {
 public:
  // Reads the schema and walks all tables of the image. Errors: kCorrupt.
  static Result<std::unique_ptr<Feed>> Open(const sqlite::PageSource& image, FeedOptions options);

  // REQUIRES: commit.before is the image the feed is at, no other transaction is open. LIFETIME: both sources, until
  // the transaction goes. Errors: kCorrupt.
  Result<std::unique_ptr<Transaction>> Begin(const FeedCommit& commit);

  const Schema& schema() const { return schema_; }
  const PageMap& map() const { return map_; }
  // A commit with this page is on its way: what will be asked of it is fetched into the processor's cache.
  void Expect(Pgno pgno) const;
  // Compares the map with one built from this image, the one the feed is at. Errors: kCorrupt (they differ, or as
  // Open).
  Status Verify(const sqlite::PageSource& image) const;

 private:
  friend class Transaction;
  explicit Feed(FeedOptions options) : options_(std::move(options)) {}

  const FeedOptions options_;
  Schema schema_;
  PageMap map_;
  uint64_t hash_seed_ = 0;
  // Scratch of the open transaction, kept to be used again.
  TableScratch table_scratch_;
  PageSet changed_;
  Marks marks_;
  PageSet visited_;
  PageSet shared_;
  PageSet forgotten_;
  Spots spots_;
  std::vector<TreeLeaf> leaves_;
  bool busy_ = false;
};

// THREAD: one. LIFETIME: the feed and the sources of the commit.
class Transaction {
 public:
  ~Transaction();
  Transaction(const Transaction&) = delete;
  Transaction& operator=(const Transaction&) = delete;

  // Schema changes first, then table after table its deletes and then its inserts and updates. False: no more.
  // Errors: kCorrupt, kUnsupported; they name table, page and TXID.
  Result<bool> Next(Change& change);
  // The feed is at the image after the commit. REQUIRES: Next said false.
  void Finish();

  // The schema after the commit.
  const Schema& schema() const { return new_schema_ ? *new_schema_ : feed_.schema_; }

 private:
  friend class Feed;
  Transaction(Feed& feed, const FeedCommit& commit, sqlite::Image before, sqlite::Image after);
  Status Start(const std::vector<Pgno>& pages);
  Result<bool> SchemaTouched() const;
  Status CompareTables();
  void TellRenamesAcrossTheBorder();
  Status CheckTrees();
  std::span<const TreeLeaf> KnownLeavesOf(Pgno root) const;
  Error Locate(const Error& error, const TableDef* table) const;

  Feed& feed_;
  const Txid txid_;
  const sqlite::Image before_;
  const sqlite::Image after_;
  const CommitView view_;
  std::unique_ptr<Schema> new_schema_;  // null: unchanged
  PageMap::Update update_;              // of the map
  std::vector<SchemaChange> schema_changes_;
  std::vector<TablePair> pairs_;

  size_t schema_next_ = 0;
  size_t pair_next_ = 0;
  std::optional<TableDiff> table_;
  RowChange row_;
  uint64_t ordinal_ = 0;
  bool at_end_ = false;
};

}  // namespace runnel::feed
