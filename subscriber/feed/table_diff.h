// The row changes of one table in one commit: deletes first, then inserts and updates.
//
// Where the rowid is hidden (no INTEGER PRIMARY KEY), rows are matched by rowid but reported by content: what is
// deleted under one rowid and inserted under another with the same values is no change. So a VACUUM that renumbers such
// a table reports nothing.
#pragma once

#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "ltx/base/result.h"
#include "subscriber/feed/row.h"
#include "subscriber/feed/row_hash.h"
#include "subscriber/feed/schema_change.h"
#include "subscriber/feed/tree_diff.h"

namespace runnel::feed {

// LIFETIME: until the next call.
struct RowChange {
  enum class Op : char { kInsert = 'c', kUpdate = 'u', kDelete = 'd' };

  Op op = Op::kInsert;
  const TableDef* table = nullptr;  // the new definition; rows of the old one are given in its columns
  int64_t rowid = 0;                // no part of the row where TableDef::hidden_rowid()
  const Row* before = nullptr;
  const Row* after = nullptr;
};

struct TableDiffLimits {
  size_t buffered_changes_max = 1024;  // more are found a second time instead
  size_t netted_rows_max =
      size_t{1} << 22;  // hidden rowid: different rows in one commit, 40 bytes each; above, see table_diff.cpp
};

// What one table after the other needs, kept because taking memory anew costs as much as a small commit. Between tables
// it holds nothing.
struct TableScratch {
  RowDecoder decoder;
  std::vector<CellChange> buffer;
  Row before;
  Row after;
  std::vector<sqlite::Value> moved;
};

// THREAD: one; one at a time on a scratch. LIFETIME: everything handed in.
class TableDiff {
 public:
  TableDiff(const CommitView& view, const TablePair& pair, TableScratch& scratch, const TableDiffLimits& limits,
            uint64_t hash_seed);

  // False: no more. Errors: kCorrupt, kUnsupported.
  Result<bool> Next(RowChange& change);

 private:
  enum class Phase { kStart, kDeletes, kRest, kDone };
  // What a pair of cells is once decoded.
  enum class Effect {
    kNone,
    kInsert,
    kDelete,
    kUpdate,
    kReplace
  };  // kReplace: delete and insert, the declared key changed

  Status Rewind();
  Result<bool> NextPair();
  Result<Effect> DecodePair();
  void ToNewColumns(Row& row);
  Result<bool> Emit(Effect effect, RowChange& change);
  bool EmitDelete(Effect effect, bool claimed, RowChange& change);
  bool EmitRest(Effect effect, bool claimed, RowChange& change);
  RowChange Fill(RowChange::Op op) const;

  Status Net();
  Status CountRows();
  Status ClaimUpdates();
  Result<bool> SameRowsInOrder();

  const CommitView& view_;
  const TablePair& pair_;
  RowDecoder& decoder_;
  const TableDiffLimits limits_;
  const RowHasher hasher_;
  const TreePair trees_;
  Phase phase_ = Phase::kStart;

  // The changes of cells: from the buffer if it holds them all, else found again.
  std::unique_ptr<TreeDiff> source_;
  std::vector<CellChange>& buffer_;
  size_t buffer_next_ = 0;
  bool buffer_complete_ = false;
  bool buffer_overflown_ = false;
  CellChange cells_;

  Row& before_;
  Row& after_;
  std::vector<sqlite::Value>& moved_;

  bool netting_ = false;
  std::unordered_map<RowHash, int64_t, RowHashOfHash> net_;  // row -> how many more there are after than before
  std::vector<bool> claimed_;                                // by number of the update: reported as one
  size_t update_next_ = 0;
};

}  // namespace runnel::feed
