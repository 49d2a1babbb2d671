#include "tests/unit/feed/generator.h"

#include <algorithm>

namespace runnel::testing {
namespace {

std::string Join(const std::vector<std::string>& parts) {
  std::string out;
  for (const std::string& part : parts) out += (out.empty() ? "" : ",") + part;
  return out;
}

std::string Call(const char* function, uint64_t argument) {
  return std::string(function) + "(" + std::to_string(argument) + ")";
}

}  // namespace

bool Generator::Run(const std::string& sql) {
  std::string error = db_.Exec(sql);
  log_.push_back(error.empty() ? sql : sql + "   -- " + error);
  return error.empty();
}

void Generator::Load() {
  if (!stale_) return;
  tables_.clear();
  stale_ = false;
  for (const std::string& name : db_.Texts(
           "SELECT name FROM pragma_table_list WHERE schema='main' AND type='table' AND name NOT LIKE 'sqlite_%'")) {
    Table table;
    table.name = name;
    std::string q = QuotedName(name);
    table.without_rowid = db_.Number("SELECT wr FROM pragma_table_list(" + q + ") WHERE schema='main'") != 0;
    table.strict = db_.Number("SELECT strict FROM pragma_table_list(" + q + ") WHERE schema='main'") != 0;
    table.columns = db_.Texts("SELECT name FROM pragma_table_xinfo(" + q + ")");
    table.types = db_.Texts("SELECT type FROM pragma_table_xinfo(" + q + ")");
    for (const std::string& c : db_.Texts("SELECT name FROM pragma_table_xinfo(" + q + ") WHERE hidden=0")) {
      table.plain.push_back(QuotedName(c));
    }
    for (const std::string& c : db_.Texts("SELECT name FROM pragma_table_xinfo(" + q + ") WHERE pk>0 ORDER BY pk")) {
      table.key.push_back(QuotedName(c));
    }
    tables_.push_back(std::move(table));
  }
}

Generator::Table* Generator::Pick() {
  Load();
  return tables_.empty() ? nullptr : &tables_[random_.Below(tables_.size())];
}

std::string Generator::Value() {
  Random& r = random_;
  switch (r.Below(18)) {
    case 0: return "NULL";
    case 1: return std::to_string(r.Below(3));
    case 2: return std::to_string(static_cast<int64_t>(r.Below(200)) - 100);
    case 3: return std::to_string(static_cast<int64_t>(r.Word()));
    case 4: return std::to_string(r.Below(uint64_t{1} << (8 * (1 + r.Below(6)))));
    case 5: return std::to_string(static_cast<double>(r.Below(1000)) / 8);
    case 6: return std::to_string(r.Below(50)) + ".0";
    case 7:
      return r.Of<std::string>(
          {"9e999", "-9e999", "-0.0", "1e300", "0.1", "9007199254740993.0", "-9223372036854775808"});
    case 8: return "''";
    case 9: return "x''";
    case 10: return Call("rb", r.Below(40));
    case 11: return Call("rt", r.Below(300));
    case 12: return Call("rb", r.Below(r.Chance(30) ? 9000 : 900));
    case 13: return r.Chance(30) ? Call("rt", r.Below(r.Chance(5) ? 80000 : 6000)) : "rt(20)";
    case 14: return r.Chance(50) ? "CAST(rb(7) AS TEXT)" : Call("zeroblob", r.Below(3000));
    case 15: return "'a'||char(0)||'b" + std::to_string(r.Below(20)) + "'";
    case 16: return (r.Chance(50) ? "'Ab" : "'aB") + std::to_string(r.Below(10)) + (r.Chance(50) ? "  '" : "'");
    default: return Call("rt", r.Below(12));
  }
}

std::string Generator::ValueFor(const Table& table, const std::string& quoted_column) {
  if (!table.strict && random_.Chance(50)) return Value();
  std::string type;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (QuotedName(table.columns[i]) == quoted_column) type = table.types[i];
  }
  if (type == "INTEGER" || type == "INT") {
    return random_.Chance(10) ? "NULL" : std::to_string(random_.Below(random_.Chance(20) ? uint64_t{1} << 40 : 300));
  }
  if (type == "REAL")
    return random_.Chance(50) ? std::to_string(random_.Below(100)) : std::to_string(random_.Below(1000) / 7.0);
  if (type == "TEXT")
    return random_.Chance(30) ? Call("rt", random_.Below(2000)) : "'k" + std::to_string(random_.Below(60)) + "'";
  if (type == "BLOB") return Call("rb", random_.Below(random_.Chance(20) ? 5000 : 60));
  return Value();
}

std::string Generator::List(const Table& table) const { return Join(table.plain); }

std::string Generator::Values(const Table& table) {
  std::vector<std::string> values;
  for (const std::string& column : table.plain) values.push_back(ValueFor(table, column));
  return Join(values);
}

std::string Generator::AnyPlain(const Table& table) { return table.plain.empty() ? "rowid" : random_.Of(table.plain); }

std::string Generator::Where(const Table& table) {
  std::string q = table.quoted();
  std::string offset = " LIMIT 1 OFFSET " + std::to_string(random_.Below(40)) + ")";
  if (!table.without_rowid) {
    switch (random_.Below(4)) {
      case 0: return " WHERE rowid=(SELECT rowid FROM " + q + offset;
      case 1: return " WHERE rowid%" + std::to_string(2 + random_.Below(9)) + "=0";
      case 2: {
        uint64_t from = random_.Below(60);
        return " WHERE rowid BETWEEN " + std::to_string(from) + " AND " + std::to_string(from + random_.Below(30));
      }
      default: break;
    }
  }
  std::string column = QuotedName(random_.Of(table.columns));
  return " WHERE " + column + (random_.Chance(50) ? ">" + Value() : "=(SELECT " + column + " FROM " + q + offset);
}

std::string Generator::TableBody(std::string& tail) {
  Random& r = random_;
  bool strict = r.Chance(15);
  bool without_rowid = false;
  auto type = [&]() {
    return strict ? r.Of<std::string>({"INTEGER", "REAL", "TEXT", "BLOB", "ANY", "INT"})
                  : r.Of<std::string>(
                        {"", "INTEGER", "REAL", "TEXT", "BLOB", "NUMERIC", "VARCHAR(10)", "DOUBLE PRECISION", "INT"});
  };
  auto order = [&]() {
    return r.Of<std::string>(
        {"", "", " COLLATE NOCASE", " COLLATE RTRIM", " COLLATE REV", " DESC", " COLLATE NOCASE DESC"});
  };
  std::vector<std::string> names;
  std::vector<std::string> columns;
  std::string key;
  uint64_t kind = r.Below(9);
  std::string first = QuotedName(NewName("k"));
  if (kind <= 1) columns.push_back(first + " INTEGER PRIMARY KEY" + (r.Chance(20) ? " AUTOINCREMENT" : ""));
  if (kind == 2)
    columns.push_back(first + (strict ? " TEXT" : " " + type()) + " PRIMARY KEY" + (r.Chance(20) ? " DESC" : ""));
  if (kind == 3) columns.push_back(first + " INTEGER PRIMARY KEY DESC");
  if (kind >= 4 && kind <= 6) {
    without_rowid = kind != 6;
    key = "?";
  }
  for (uint64_t n = 1 + r.Below(6); n > 0; --n) {
    names.push_back(QuotedName(NewName(r.Chance(20) ? "\xC3\x9Cn" : r.Chance(10) ? "sp ace" : "c")));
    std::string column = names.back() + " " + type();
    if (r.Chance(10)) column += " COLLATE NOCASE";
    if (r.Chance(8)) column += " UNIQUE";
    if (r.Chance(10))
      column += strict ? " DEFAULT NULL" : r.Of<std::string>({" DEFAULT 7", " DEFAULT 'x'", " DEFAULT (1.5)"});
    if (r.Chance(4)) column += " NOT NULL";
    columns.push_back(column);
  }
  if (r.Chance(12)) {
    std::string of = r.Of(names);
    columns.push_back(QuotedName(NewName("g")) + " " + (strict ? "ANY" : type()) + " AS (" +
                      (r.Chance(50) ? of + " || '!'" : "length(" + of + ")+1") + ")" +
                      (r.Chance(60) ? " VIRTUAL" : " STORED"));
  }
  if (r.Chance(25)) std::swap(columns[r.Below(columns.size())], columns[r.Below(columns.size())]);
  if (!key.empty()) {
    key.clear();
    std::vector<std::string> parts = names;
    for (size_t i = parts.size(); i > 1; --i) std::swap(parts[i - 1], parts[r.Below(i)]);
    parts.resize(1 + r.Below(std::min<size_t>(3, parts.size())));
    if (r.Chance(10)) parts.push_back(parts[0]);  // a column may be in a key twice, under two collations
    for (const std::string& part : parts) key += (key.empty() ? "" : ",") + part + order();
    columns.push_back("PRIMARY KEY(" + key + ")");
  }
  Load();
  if (r.Chance(15) && !tables_.empty()) {
    const Table& parent = r.Of(tables_);
    std::string action = r.Chance(50) ? " ON DELETE CASCADE ON UPDATE CASCADE" : " ON DELETE SET NULL";
    if (parent.key.size() == 1)
      columns.push_back("FOREIGN KEY(" + names[0] + ") REFERENCES " + parent.quoted() + action);
  }
  if (without_rowid) tail = "WITHOUT ROWID";
  if (strict) tail += without_rowid ? ", STRICT" : "STRICT";
  return "(" + Join(columns) + ")";
}

void Generator::Create(std::string name) {
  if (name.empty()) name = NewName(random_.Chance(10) ? "t (x\"" : "t");
  std::string tail;
  std::string body = TableBody(tail);
  stale_ = true;
  if (!Run("CREATE TABLE " + QuotedName(name) + body + tail)) return;
  Load();
  for (const Table& table : tables_) {
    if (table.name == name) Fill(table, random_.Below(random_.Chance(20) ? 120 : 12));
  }
}

void Generator::Fill(const Table& table, uint64_t rows) {
  for (; rows > 0 && !table.plain.empty(); --rows) {
    Run(std::string(random_.Chance(20) ? "INSERT OR REPLACE" : "INSERT OR IGNORE") + " INTO " + table.quoted() + "(" +
        List(table) + ") VALUES(" + Values(table) + ")");
  }
}

void Generator::ChangeKeys(const Table& table) {
  if (table.key.empty()) return;
  std::string q = table.quoted();
  std::string c = random_.Of(table.key);
  std::string other = random_.Chance(50)   ? Value()
                      : random_.Chance(50) ? "upper(" + c + ")"
                                           : c + "+" + std::to_string(1 + random_.Below(5));
  if (random_.Chance(35) && !table.without_rowid)
    other = "(SELECT b." + c + " FROM " + q + " b WHERE b.rowid=" + q + ".rowid+1)";
  Run(std::string("UPDATE OR ") + (random_.Chance(50) ? "REPLACE " : "IGNORE ") + q + " SET " + c + "=" + other +
      Where(table));
}

void Generator::ReinsertAll(const Table& table) {
  if (table.plain.empty()) return;
  std::string q = table.quoted();
  std::string rowid = table.without_rowid ? "" : "rowid,";
  std::string copied = table.without_rowid ? "" : "r_r,";
  (void)db_.Exec("DROP TABLE IF EXISTS temp.cp");
  std::string select = table.without_rowid ? "SELECT " : "SELECT rowid AS r_r,";
  if (!db_.Exec("CREATE TEMP TABLE cp AS " + select + List(table) + " FROM " + q).empty()) return;
  Run("DELETE FROM " + q);
  Run("INSERT OR IGNORE INTO " + q + "(" + rowid + List(table) + ") SELECT " + copied + List(table) + " FROM temp.cp");
  (void)db_.Exec("DROP TABLE IF EXISTS temp.cp");
}

void Generator::ChangeRows() {
  Table* picked = Pick();
  if (picked == nullptr) return Create("");
  const Table& t = *picked;
  Random& r = random_;
  std::string q = t.quoted();
  std::string c = AnyPlain(t);
  uint64_t what = r.Below(20);
  if (db_.Number("SELECT count(*) FROM " + q) > rows_max_) what = r.Chance(50) ? 8 : 9;
  switch (what) {
    case 3:
    case 4:
    case 5: Run("UPDATE OR IGNORE " + q + " SET " + c + "=" + Value() + Where(t)); return;
    case 6:
    case 15: return ChangeKeys(t);
    case 7:
      if (t.without_rowid) return;
      Run("UPDATE OR REPLACE " + q + " SET rowid=rowid+" + std::to_string(static_cast<int64_t>(r.Below(400)) - 200) +
          Where(t));
      return;
    case 8: Run("DELETE FROM " + q + Where(t)); return;
    case 9: Run("DELETE FROM " + q + (r.Chance(40) ? "" : Where(t))); return;
    case 10:
      Run("INSERT OR REPLACE INTO " + q + "(" + List(t) + ") SELECT " + List(t) + " FROM " + q + Where(t));
      return;
    case 11:  // the same size: written in place, overflow pages alone
      Run("UPDATE OR IGNORE " + q + " SET " + c + "=CASE typeof(" + c + ") WHEN 'blob' THEN substr(" + c +
          ",1,length(" + c + ")-3)||rb(3) WHEN 'text' THEN substr(" + c + ",1,length(" + c + ")-1)||'q' ELSE " + c +
          " END" + Where(t));
      return;
    case 12: return WriteBlob(t);
    case 13:
      Run("INSERT INTO " + q + "(" + List(t) + ") VALUES(" + Values(t) + ") ON CONFLICT DO UPDATE SET " + c + "=" +
          Value());
      return;
    case 14: {
      std::string last =
          t.without_rowid ? " WHERE length(" + c + ")<5" : " WHERE rowid=(SELECT max(rowid) FROM " + q + ")";
      Run("UPDATE OR IGNORE " + q + " SET " + c + "=" + Call("rb", r.Below(r.Chance(85) ? 12000 : 200000)) + last);
      return;
    }
    case 16: Run("UPDATE OR IGNORE " + q + " SET " + c + "=" + c); return;
    case 17: return ReinsertAll(t);
    case 18: {
      if (!r.Chance(rows_max_ > 200 ? 60 : 10)) break;
      std::vector<std::string> values;
      for (size_t i = 0; i < t.plain.size(); ++i)
        values.push_back(r.Of<std::string>({"NULL", "rt(value%30)", "value*3"}));
      Run("WITH RECURSIVE s(value) AS (SELECT 1 UNION ALL SELECT value+1 FROM s LIMIT " +
          std::to_string(r.Below(static_cast<uint64_t>(rows_max_) * 2)) + ") INSERT OR REPLACE INTO " + q + "(" +
          List(t) + ") SELECT " + Join(values) + " FROM s");
      return;
    }
    default: break;
  }
  Fill(t, 1 + r.Below(r.Chance(20) ? 60 : 4));
}

void Generator::WriteBlob(const Table& table) {
  if (table.without_rowid) return;
  std::string column = random_.Of(table.columns);
  int64_t rowid = db_.Number("SELECT rowid FROM " + table.quoted() + " WHERE length(" + QuotedName(column) +
                             ")>400 LIMIT 1 OFFSET " + std::to_string(random_.Below(3)));
  sqlite3_blob* blob = nullptr;
  if (sqlite3_blob_open(db_.handle(), "main", table.name.c_str(), column.c_str(), rowid, 1, &blob) == SQLITE_OK) {
    int size = sqlite3_blob_bytes(blob);
    uint32_t bytes = static_cast<uint32_t>(random_.Word());
    if (size > 8) sqlite3_blob_write(blob, &bytes, 4, static_cast<int>(random_.Below(static_cast<uint64_t>(size) - 4)));
    log_.push_back("-- blob write " + table.name);
  }
  sqlite3_blob_close(blob);
}

void Generator::AddColumn(const Table& table) {
  std::string what = random_.Of<std::string>({"", " INTEGER", " REAL DEFAULT 5", " TEXT DEFAULT 'd\xC3\xA9'",
                                              " DEFAULT x'0102'", " NOT NULL DEFAULT 3", " TEXT DEFAULT 12",
                                              " INTEGER DEFAULT '12'", " REAL NOT NULL DEFAULT (-2.5)", " AS (1+1)"});
  if (table.strict) what = random_.Chance(50) ? " INTEGER DEFAULT 4" : " ANY";
  Run("ALTER TABLE " + table.quoted() + " ADD COLUMN " + QuotedName(NewName("a")) + what);
}

// The twelve steps SQLite's documentation recommends.
void Generator::Rebuild(const Table& table) {
  std::vector<std::string> sql =
      db_.Texts("SELECT sql FROM sqlite_schema WHERE type='table' AND name='" + table.name + "'");
  if (sql.empty() || table.name.find('"') != std::string::npos || sql[0].find('(') == std::string::npos) return;
  (void)db_.Exec("DROP TABLE IF EXISTS nw");
  if (!Run("CREATE TABLE nw" + sql[0].substr(sql[0].find('(')))) return;
  std::string rowid = !table.without_rowid && table.key.empty() && random_.Chance(50) ? "rowid," : "";
  Run("INSERT INTO nw(" + rowid + List(table) + ") SELECT " + rowid + List(table) + " FROM " + table.quoted());
  Run("DROP TABLE " + table.quoted());
  Run("ALTER TABLE nw RENAME TO " + table.quoted());
}

void Generator::SwapNames(const Table& table) {
  std::string a = table.quoted();
  std::string b = random_.Of(tables_).quoted();
  if (a == b) return;
  Run("ALTER TABLE " + a + " RENAME TO tmpswap");
  Run("ALTER TABLE " + b + " RENAME TO " + a);
  Run("ALTER TABLE tmpswap RENAME TO " + b);
}

void Generator::CreateOther(const Table& table) {
  std::string name = NewName("o");
  const Table& other = random_.Of(tables_);
  std::string where = other.without_rowid ? " WHERE random()%3=0" : " WHERE rowid%7=1";
  switch (random_.Below(6)) {
    case 0: Run("CREATE VIRTUAL TABLE " + name + " USING fts5(a,b)"); return;
    case 1: Run("CREATE VIRTUAL TABLE " + name + " USING rtree(id,x0,x1)"); return;
    case 2: Run("CREATE VIRTUAL TABLE " + name + " USING fts4(a)"); return;
    case 3: Run("CREATE VIEW " + name + " AS SELECT 1"); return;
    default: break;
  }
  Run("CREATE TRIGGER " + name + " AFTER UPDATE ON " + table.quoted() + " BEGIN DELETE FROM " + other.quoted() + where +
      "; END");
}

void Generator::ChangeVirtualTable() {
  std::vector<std::string> names = db_.Texts("SELECT name FROM sqlite_schema WHERE type='table' AND rootpage=0");
  if (names.empty()) return;
  std::string name = random_.Of(names);
  if (random_.Chance(20)) {
    Run("DROP TABLE " + name);
    return;
  }
  Run("INSERT INTO " + name + "(a) VALUES(rt(50))");
  Run("INSERT INTO " + name + "(x0,x1) VALUES(" + std::to_string(random_.Below(50)) + ",100)");
  Run("DELETE FROM " + name + " WHERE rowid%5=" + std::to_string(random_.Below(5)));
}

void Generator::ChangeSchema() {
  Table* picked = Pick();
  if (picked == nullptr || tables_.size() < 3) return Create("");
  const Table t = *picked;
  std::string q = t.quoted();
  std::string c = QuotedName(random_.Of(t.columns));
  stale_ = true;
  switch (random_.Below(16)) {
    case 0:
      if (tables_.size() < 9) Create("");
      return;
    case 1:
      if (random_.Chance(50)) Run("DROP TABLE " + q);
      return;
    case 2:
    case 3: return AddColumn(t);
    case 4:
    case 5: Run("ALTER TABLE " + q + " DROP COLUMN " + c); return;
    case 6: Run("ALTER TABLE " + q + " RENAME COLUMN " + c + " TO " + QuotedName(NewName("n"))); return;
    case 7: Run("ALTER TABLE " + q + " RENAME TO " + QuotedName(NewName("r"))); return;
    case 8:
      Run(std::string("CREATE ") + (random_.Chance(20) ? "UNIQUE " : "") + "INDEX " + NewName("i") + " ON " + q + "(" +
          c + ")");
      return;
    case 9: {
      std::vector<std::string> indexes =
          db_.Texts("SELECT name FROM sqlite_schema WHERE type='index' AND sql NOT NULL");
      if (!indexes.empty()) Run("DROP INDEX " + QuotedName(random_.Of(indexes)));
      return;
    }
    case 10: return Rebuild(t);
    case 11: return SwapNames(t);
    case 12:
      if (Run("DROP TABLE " + q)) Create(t.name);
      return;
    case 13:
      if (random_.Chance(30)) Run(random_.Chance(50) ? "REINDEX" : "ANALYZE");
      return;
    case 14:
      if (random_.Chance(30)) CreateOther(t);
      return;
    default: return ChangeVirtualTable();
  }
}

void Generator::Step() {
  log_.clear();
  Random& r = random_;
  if (r.Chance(2)) {
    if (r.Chance(30)) (void)db_.Exec("PRAGMA auto_vacuum=" + std::to_string(r.Below(3)));
    Run("VACUUM");
    return;
  }
  if (r.Chance(3)) {
    Run("PRAGMA incremental_vacuum(" + std::to_string(1 + r.Below(20)) + ")");
    return;
  }
  if (r.Chance(30)) return r.Chance(12) ? ChangeSchema() : ChangeRows();
  Run("BEGIN");
  for (uint64_t n = 1 + r.Below(r.Chance(10) ? 25 : 5); n > 0; --n) {
    if (r.Chance(6)) {
      Run("SAVEPOINT s");
      ChangeRows();
      if (r.Chance(40)) ChangeSchema();
      ChangeRows();
      if (r.Chance(50)) Run("ROLLBACK TO s");
      stale_ = true;
      Run("RELEASE s");
    } else if (r.Chance(10)) {
      ChangeSchema();
    } else {
      ChangeRows();
    }
  }
  if (r.Chance(8)) {
    Run("ROLLBACK");
    stale_ = true;
  } else if (!Run("COMMIT")) {
    stale_ = true;
  }
  if (sqlite3_get_autocommit(db_.handle()) == 0) (void)db_.Exec("ROLLBACK");
}

}  // namespace runnel::testing
