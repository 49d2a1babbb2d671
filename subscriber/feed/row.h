// Rows: records with what the schema adds to them (rowid alias, defaults of columns added later, REAL affinity, virtual
// columns).
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/sqlite/btree_cursor.h"
#include "ltx/sqlite/record.h"
#include "subscriber/feed/schema.h"
#include "subscriber/feed/schema_parser.h"

namespace runnel::feed {

// One value a column. LIFETIME: the page source, the table definition and this object.
struct Row {
  std::vector<sqlite::Value> values;

  // Bytes of values that lie neither in a page nor in a definition.
  std::string payload;
  std::vector<sqlite::OwnedValue> virtual_values;
};

// Decodes rows; holds a scratch database for each table with virtual columns. THREAD: one.
class RowDecoder {
 public:
  // Errors: kCorrupt (names the page), kUnsupported (virtual columns that cannot be computed).
  Status Decode(const TableDef& def, const sqlite::Image& image, const sqlite::CellAt& at, Row& row);

  // Forgets scratch databases of tables that `schema` does not have.
  void Keep(const Schema& schema);

 private:
  struct Scratch {
    std::unique_ptr<TableDef> def;
    std::unique_ptr<VirtualColumns> columns;
  };
  Result<VirtualColumns*> ColumnsOf(const TableDef& def);

  std::vector<sqlite::Value> fields_;
  std::map<std::string, Scratch> scratch_;  // by name and text
};

}  // namespace runnel::feed
