// sqlite_schema of one image, read from its pages.
#pragma once

#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/sqlite/btree.h"
#include "subscriber/feed/table_def.h"

namespace runnel::feed {

// One row of sqlite_schema, in UTF-8.
struct SchemaRow {
  std::string type;  // table, index, view, trigger
  std::string name;
  std::string table;  // tbl_name
  Pgno root;          // 0: virtual tables, views, triggers
  std::string sql;    // "" for the indexes SQLite makes itself

  bool operator==(const SchemaRow&) const = default;
};

struct Schema {
  std::vector<SchemaRow> rows;
  std::vector<TableDef> tables;  // every table that has rows of its own; sorted by root

  // Null: no table has this root.
  const TableDef* FindByRoot(Pgno root) const;
  const TableDef* FindByName(const std::string& name) const;
  // Page 1, then the roots of all tables.
  std::vector<Pgno> Roots() const;
};

// `known`: definitions whose name and text did not change are taken from there. Errors: kCorrupt.
Result<Schema> ReadSchema(const sqlite::Image& image, const Schema* known);

}  // namespace runnel::feed
