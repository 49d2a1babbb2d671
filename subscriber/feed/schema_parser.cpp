#include "subscriber/feed/schema_parser.h"

#include <algorithm>
#include <utility>

#include "subscriber/feed/scratch.h"
#include "subscriber/feed/text.h"

namespace runnel::feed {
namespace {

// SQLite's affinity rules (datatype3, section 3.1), as far as REAL is concerned: the earlier rules win.
bool HasRealAffinity(const std::string& type) {
  std::string lower = Lower(type);
  auto has = [&lower](const char* part) { return lower.find(part) != std::string::npos; };
  if (has("int") || has("char") || has("clob") || has("text") || has("blob")) return false;
  return has("real") || has("floa") || has("doub");
}

Status PutIntoSchema(sqlite3* db, const std::string& name, const std::string& sql) {
  TRY(Run(db, "CREATE TABLE x(x)"));
  TRY(Run(db, "PRAGMA writable_schema=ON"));
  TRY(Run(db, "DELETE FROM sqlite_schema"));
  {
    TRY_ASSIGN(Statement insert, Prepare(db, "INSERT INTO sqlite_schema VALUES('table',?1,?1,2,?2)"));
    sqlite3_bind_text(insert.get(), 1, name.data(), static_cast<int>(name.size()), SQLITE_STATIC);
    sqlite3_bind_text(insert.get(), 2, sql.data(), static_cast<int>(sql.size()), SQLITE_STATIC);
    if (sqlite3_step(insert.get()) != SQLITE_DONE)
      return Error(Errc::kInvalid, std::string("sqlite: ") + sqlite3_errmsg(db));
  }
  return Run(db, "PRAGMA writable_schema=RESET");  // makes SQLite read the schema anew
}

struct Declared {
  std::vector<std::pair<int, int>> key;   // place in the key, column
  std::vector<std::string> default_text;  // by column, "" none
  std::string key_index;                  // name of the index behind PRIMARY KEY
};

Status ReadColumns(sqlite3* db, TableDef& def, Declared& declared) {
  std::string quoted = Quoted(def.name);
  TRY(ForEachRow(db, "PRAGMA table_list(" + quoted + ")", [&](sqlite3_stmt* row) {
    if (TextColumn(row, 0) != "main") return;
    def.without_rowid = sqlite3_column_int(row, 4) != 0;
    def.strict = sqlite3_column_int(row, 5) != 0;
  }));
  TRY(ForEachRow(db, "PRAGMA table_xinfo(" + quoted + ")", [&](sqlite3_stmt* row) {
    ColumnDef column;
    column.name = TextColumn(row, 1);
    column.type = TextColumn(row, 2);
    column.not_null = sqlite3_column_int(row, 3) != 0;
    int hidden = sqlite3_column_int(row, 6);  // 0 plain, 2 virtual, 3 stored
    column.kind = hidden == 2 ? ColumnKind::kVirtual : hidden == 3 ? ColumnKind::kStored : ColumnKind::kPlain;
    column.real_affinity = HasRealAffinity(column.type);
    int place = sqlite3_column_int(row, 5);
    if (place > 0) declared.key.push_back({place, static_cast<int>(def.columns.size())});
    bool none = sqlite3_column_type(row, 4) == SQLITE_NULL;
    declared.default_text.push_back(none ? std::string() : TextColumn(row, 4));
    def.has_virtual |= column.kind == ColumnKind::kVirtual;
    def.columns.push_back(std::move(column));
  }));
  if (def.columns.empty()) return Error(Errc::kCorrupt, "no table comes out of its text");
  std::sort(declared.key.begin(), declared.key.end());
  // Not always sqlite_autoindex_T_1: a UNIQUE column declared earlier takes that name.
  return ForEachRow(db, "PRAGMA index_list(" + quoted + ")", [&](sqlite3_stmt* row) {
    if (TextColumn(row, 3) == "pk") declared.key_index = TextColumn(row, 1);
  });
}

// Which column each field of a record is.
Status ReadStorage(sqlite3* db, TableDef& def, const Declared& declared) {
  for (const std::pair<int, int>& part : declared.key) def.primary_key.push_back(part.second);
  if (!def.without_rowid) {
    for (size_t i = 0; i < def.columns.size(); ++i) {
      if (def.columns[i].kind != ColumnKind::kVirtual) def.stored.push_back(static_cast<int>(i));
    }
    // INTEGER PRIMARY KEY needs no index; any other key has one (INTEGER PRIMARY KEY DESC too).
    if (declared.key.size() == 1 && declared.key_index.empty()) def.rowid_alias = declared.key[0].second;
    return Ok();
  }
  TRY(ForEachRow(db, "PRAGMA index_xinfo(" + Quoted(declared.key_index) + ")", [&](sqlite3_stmt* row) {
    def.stored.push_back(sqlite3_column_int(row, 1));
    if (sqlite3_column_int(row, 5) == 0) return;
    ++def.key_fields;
    def.key_order += TextColumn(row, 4) + (sqlite3_column_int(row, 3) != 0 ? " desc," : ",");
  }));
  for (int column : def.stored) {
    if (column < 0 || column >= static_cast<int>(def.columns.size()))
      return Error(Errc::kCorrupt, "a key over no column");
  }
  if (def.key_fields == 0) return Error(Errc::kCorrupt, "a WITHOUT ROWID table without a key");
  return Ok();
}

// The default under the column's own affinity. One that calls functions stays NULL: SQLite does not allow it where
// short records can exist (ADD COLUMN), so it is never asked for.
void ReadDefault(sqlite3* db, const TableDef& def, const std::string& text, ColumnDef& column) {
  std::string create = "CREATE TEMP TABLE \"default?\"(c " + column.type + " DEFAULT (" + text + "))";
  if (def.strict) create += "STRICT";
  if (Run(db, create).ok() && Run(db, "INSERT INTO temp.\"default?\" DEFAULT VALUES").ok()) {
    (void)ForEachRow(db, "SELECT c FROM temp.\"default?\"", [&](sqlite3_stmt* row) {
      column.default_value = ValueColumn(row, 0, def.encoding);
    }).ok();
  }
  (void)Run(db, "DROP TABLE IF EXISTS temp.\"default?\"").ok();
}

}  // namespace

Result<TableDef> ParseTable(const std::string& name, const std::string& sql, sqlite::TextEncoding encoding) {
  TableDef def;
  def.name = name;
  def.sql = sql;
  def.encoding = encoding;
  TRY_ASSIGN(DbHandle db, OpenScratch(encoding));
  Declared declared;
  Status read = PutIntoSchema(db.get(), name, sql);
  if (read.ok()) read = ReadColumns(db.get(), def, declared);
  if (read.ok()) read = ReadStorage(db.get(), def, declared);
  if (!read.ok()) return read.error().As(Errc::kCorrupt).With("table " + name);
  ForbidFunctions(db.get());
  for (size_t i = 0; i < def.columns.size(); ++i) {
    if (!declared.default_text[i].empty() && def.columns[i].kind == ColumnKind::kPlain) {
      ReadDefault(db.get(), def, declared.default_text[i], def.columns[i]);
    }
  }
  return def;
}

Result<std::unique_ptr<VirtualColumns>> VirtualColumns::Open(const TableDef& def) {
  std::unique_ptr<VirtualColumns> made(new VirtualColumns(def));
  TRY_ASSIGN(DbHandle db, OpenScratch(def.encoding));
  made->db_ = db.release();
  Status prepared = made->Prepare();
  if (!prepared.ok()) return made->Refuse(prepared.error().message().c_str());
  return made;
}

VirtualColumns::~VirtualColumns() {
  for (sqlite3_stmt* statement : {delete_, insert_, select_}) sqlite3_finalize(statement);
  sqlite3_close_v2(db_);
}

Error VirtualColumns::Refuse(const char* what) const {
  return Error(Errc::kUnsupported, "table " + def_.name + ": its virtual columns cannot be computed here: " + what);
}

Status VirtualColumns::Prepare() {
  std::string plain;
  std::string parameters;
  std::string virtuals;
  for (size_t i = 0; i < def_.columns.size(); ++i) {
    const ColumnDef& column = def_.columns[i];
    if (column.kind == ColumnKind::kPlain) {
      plain += (plain.empty() ? "" : ",") + Quoted(column.name);
      parameters += parameters.empty() ? "?" : ",?";
    } else if (column.kind == ColumnKind::kVirtual) {
      virtuals += (virtuals.empty() ? "" : ",") + Quoted(column.name);
      virtual_columns_.push_back(static_cast<int>(i));
    }
  }
  TRY(Run(db_, def_.sql));
  TRY(Run(db_, "BEGIN"));
  std::string table = Quoted(def_.name);
  TRY_ASSIGN(Statement remove, feed::Prepare(db_, "DELETE FROM " + table));
  TRY_ASSIGN(Statement insert,
             feed::Prepare(db_, "INSERT INTO " + table + "(" + plain + ") VALUES(" + parameters + ")"));
  TRY_ASSIGN(Statement select, feed::Prepare(db_, "SELECT " + virtuals + " FROM " + table));
  delete_ = remove.release();
  insert_ = insert.release();
  select_ = select.release();
  return Ok();
}

Status VirtualColumns::Evaluate(std::vector<sqlite::Value>& row, std::vector<sqlite::OwnedValue>& owned) {
  sqlite3_step(delete_);
  sqlite3_reset(delete_);
  int parameter = 0;
  for (size_t i = 0; i < def_.columns.size(); ++i) {
    if (def_.columns[i].kind == ColumnKind::kPlain) BindValue(insert_, ++parameter, row[i], def_.encoding);
  }
  int rc = sqlite3_step(insert_);
  sqlite3_reset(insert_);
  if (rc != SQLITE_DONE) return Refuse(sqlite3_errmsg(db_));
  rc = sqlite3_step(select_);
  if (rc == SQLITE_ROW) {
    owned.resize(virtual_columns_.size());
    for (size_t i = 0; i < virtual_columns_.size(); ++i) {
      owned[i] = ValueColumn(select_, static_cast<int>(i), def_.encoding);
      row[static_cast<size_t>(virtual_columns_[i])] = owned[i].View();
    }
  }
  Error failure = Refuse(sqlite3_errmsg(db_));
  sqlite3_reset(select_);
  if (rc != SQLITE_ROW) return failure;
  return Ok();
}

}  // namespace runnel::feed
