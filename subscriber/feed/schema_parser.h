// SQL text is understood by SQLite itself and by nobody else: the text goes as a row into the sqlite_schema of an empty
// database in memory, and the pragmas then tell what it means. It is not executed: while a schema is being read SQLite
// accepts unknown functions and reserved names, and nothing but a CREATE statement for this name.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "subscriber/feed/table_def.h"

struct sqlite3;
struct sqlite3_stmt;

namespace runnel::feed {

// Name, text, encoding; root and kind are left to the caller. Errors: kCorrupt (no table comes out of this text),
// kExhausted.
Result<TableDef> ParseTable(const std::string& name, const std::string& sql, sqlite::TextEncoding encoding);

// Values of the virtual generated columns of one table, computed by SQLite in a scratch table of the same text. This is
// the one case in which the text is executed, and its functions are called.
// THREAD: one. LIFETIME: `def`.
class VirtualColumns {
 public:
  // Errors: kUnsupported (the table needs a function or collation of its application).
  static Result<std::unique_ptr<VirtualColumns>> Open(const TableDef& def);
  ~VirtualColumns();
  VirtualColumns(const VirtualColumns&) = delete;
  VirtualColumns& operator=(const VirtualColumns&) = delete;

  // Fills in the virtual columns of `row` (all columns); their bytes lie in `owned`.
  Status Evaluate(std::vector<sqlite::Value>& row, std::vector<sqlite::OwnedValue>& owned);

 private:
  explicit VirtualColumns(const TableDef& def) : def_(def) {}
  Status Prepare();
  Error Refuse(const char* what) const;

  const TableDef& def_;
  std::vector<int> virtual_columns_;
  sqlite3* db_ = nullptr;
  sqlite3_stmt* delete_ = nullptr;
  sqlite3_stmt* insert_ = nullptr;
  sqlite3_stmt* select_ = nullptr;
};

}  // namespace runnel::feed
