// What a commit did to the schema: which old table is which new one, and what happened to the columns.
//
// Pairing, first that applies: same root and root not in the commit (certain); the old root above the first unmarked
// page below the new root (certain); same name; same root and same text after the name. What is left was created or
// dropped. A wrong guess would cost events, never correctness: rows are compared by content, and the change says which
// tables it paired.
#pragma once

#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "subscriber/feed/schema.h"
#include "subscriber/feed/tree_diff.h"

namespace runnel::feed {

// All changes of one commit happen at once: two tables can have swapped names. LIFETIME: both schemas.
struct SchemaChange {
  enum class Kind {
    kDropObject,
    kDropTable,
    kAlterTable,
    kCreateTable,
    kCreateObject
  };  // in the order they are reported

  Kind kind;
  const TableDef* before = nullptr;  // tables
  const TableDef* after = nullptr;
  const SchemaRow* object = nullptr;  // indexes, views, triggers, virtual tables
  std::vector<int> column_map;        // kAlterTable: by new column, the old one or -1: default_value

  // The new DDL text; of what is dropped, the old one.
  const std::string& sql() const;
};

// A table on both sides, or a new one. LIFETIME: both schemas.
struct TablePair {
  const TableDef* before = nullptr;  // null: new
  const TableDef* after = nullptr;
  std::vector<int> column_map;  // empty: the same columns
  bool skip_unchanged = true;   // equal bytes are equal rows
};

struct SchemaDiff {
  std::vector<SchemaChange> changes;
  std::vector<TablePair> pairs;  // whose rows can differ
};

// Errors: kCorrupt.
Result<SchemaDiff> CompareSchemas(const Schema& before, const Schema& after, const CommitView& view);

// The CREATE TABLE text behind the name.
std::string TextAfterName(const std::string& sql);

}  // namespace runnel::feed
