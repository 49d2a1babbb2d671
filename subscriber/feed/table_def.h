// What has to be known about a table to turn its records into rows. Plain data, made by SchemaParser.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ltx/format/types.h"
#include "ltx/sqlite/db_header.h"
#include "ltx/sqlite/record.h"

namespace runnel::feed {

enum class ColumnKind : uint8_t { kPlain, kVirtual, kStored };

struct ColumnDef {
  std::string name;
  std::string type;  // as declared
  ColumnKind kind = ColumnKind::kPlain;
  bool real_affinity = false;  // integers in records stand for reals
  bool not_null = false;
  sqlite::OwnedValue default_value;  // of records written before the column was added
};

struct TableDef {
  // Whose table this is: an application's, one of SQLite's own (sqlite_sequence), the inside of a virtual table.
  enum class Kind : uint8_t { kOrdinary, kInternal, kShadow };

  std::string name;
  std::string sql;  // the CREATE TABLE text of sqlite_schema
  Pgno root;
  Kind kind = Kind::kOrdinary;
  sqlite::TextEncoding encoding = sqlite::TextEncoding::kUtf8;
  bool without_rowid = false;
  bool strict = false;
  std::vector<ColumnDef> columns;
  std::vector<int> stored;       // field of a record -> column; a WITHOUT ROWID table may store one twice
  std::vector<int> primary_key;  // declared columns in order, a rowid alias included
  int rowid_alias = -1;          // column that is the rowid
  uint32_t key_fields = 0;       // WITHOUT ROWID: leading fields of a record that are the key
  std::string key_order;         // WITHOUT ROWID: collations and directions, only to be compared
  bool has_virtual = false;

  // The rowid is neither the key nor part of it: VACUUM and rebuilds may change it, and events do not show it.
  bool hidden_rowid() const { return !without_rowid && rowid_alias < 0; }
};

}  // namespace runnel::feed
