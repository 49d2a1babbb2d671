// Tables rebuilt from the changes of a feed alone, to be compared with what SELECT says.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "subscriber/feed/transaction.h"
#include "tests/unit/feed/captured_db.h"

namespace runnel::testing {

using TextRow = std::vector<std::string>;  // one text a value, unambiguous

struct MirrorTable {
  std::vector<std::string> columns;
  std::map<TextRow, int> rows;  // row -> how often
  bool operator==(const MirrorTable&) const = default;
};
using Tables = std::map<std::string, MirrorTable>;

// Everything SELECT says. Tables that cannot be read are in `unreadable`.
Tables SelectAll(CapturedDb& db, std::set<std::string>& unreadable);
// "" when equal, else the first difference.
std::string Difference(const Tables& have, const Tables& want, const std::set<std::string>& unreadable);

// Applies changes and refuses every one that a careful consumer would: of rows that are not there, inserts of a key
// that is there, updates that change nothing, a delete and an insert of the same row in one commit.
class Mirror {
 public:
  // "" or what is wrong.
  std::string Apply(const feed::Change& change);
  std::string EndCommit();
  const Tables& tables() const { return tables_; }

  uint64_t row_changes = 0;
  uint64_t schema_changes = 0;

 private:
  std::string ApplySchema(const feed::SchemaChange& change);
  std::string ApplyRow(const feed::RowChange& change);
  void Settle();

  Tables tables_;
  std::map<std::string, std::map<TextRow, int>> keys_;  // table -> key -> rows
  Tables moved_;                                        // renames of one commit may swap names: old ones go first
  std::map<std::string, std::set<TextRow>> deleted_;    // in this commit, by table
  std::map<std::string, std::set<TextRow>> deleted_keys_;
  std::map<std::string, const feed::TableDef*> moved_defs_;
};

}  // namespace runnel::testing
