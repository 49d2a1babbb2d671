// Two runs of cells in the same order, put side by side by key.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/sqlite/btree_cursor.h"
#include "ltx/sqlite/record.h"

namespace runnel::feed {

// A key on one side or both.
struct CellChange {
  std::optional<sqlite::CellAt> before;
  std::optional<sqlite::CellAt> after;
};

class CellMerge {
 public:
  virtual ~CellMerge() = default;
  // False: no more. Errors: kCorrupt.
  virtual Result<bool> Next(CellChange& change) = 0;
};

// By rowid. LIFETIME: the cursors.
class RowidMerge : public CellMerge {
 public:
  // `before` null: nothing on that side.
  RowidMerge(sqlite::TreeCursor* before, sqlite::TreeCursor& after) : before_(before), after_(after) {}
  Result<bool> Next(CellChange& change) override;

 private:
  sqlite::TreeCursor* before_;
  sqlite::TreeCursor& after_;
  bool started_ = false;
  bool has_before_ = false;
  bool has_after_ = false;
};

// By the leading fields of a record, without knowing their order. Both sides are sorted by the same order (collations,
// DESC), which only the application may know; so keys wait until they meet their partner, and then everything that
// waited before it on either side has none. Memory: the keys waiting, at worst all keys of both runs.
class KeyMerge : public CellMerge {
 public:
  struct Options {
    const sqlite::Image& before_image;
    const sqlite::Image& after_image;
    sqlite::TreeCursor* before;  // null: nothing on that side
    sqlite::TreeCursor& after;
    uint32_t key_fields;
    std::function<bool(const CellChange&)> equal_bytes;  // pairs that need no key
  };
  explicit KeyMerge(Options options) : options_(std::move(options)) {}
  Result<bool> Next(CellChange& change) override;

 private:
  struct Waiting {
    sqlite::CellAt at;
    std::string key;
  };
  struct Run {
    std::deque<Waiting> waiting;
    uint64_t first = 0;                                 // number of waiting.front()
    std::unordered_map<std::string, uint64_t> numbers;  // key -> number
    bool live = true;
  };
  Status Advance();
  Status Take(int side, const sqlite::CellAt& at);
  Result<std::string> KeyOf(int side, const sqlite::CellAt& at);
  void Flush(int side, uint64_t up_to);
  void Emit(int side, const sqlite::CellAt& at);
  sqlite::TreeCursor* cursor(int side) { return side == 0 ? options_.before : &options_.after; }

  Options options_;
  Run runs_[2];
  std::deque<CellChange> ready_;
  std::vector<sqlite::Value> fields_;
  std::string buffer_;
};

}  // namespace runnel::feed
