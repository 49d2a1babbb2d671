#include "subscriber/feed/scratch.h"

#include <algorithm>
#include <cstring>

namespace runnel::feed {
namespace {

int CompareBytes(void*, int a_bytes, const void* a, int b_bytes, const void* b) {
  int order = std::memcmp(a, b, static_cast<size_t>(std::min(a_bytes, b_bytes)));
  return order != 0 ? order : a_bytes - b_bytes;
}

void AddCollation(void*, sqlite3* db, int, const char* name) {
  sqlite3_create_collation(db, name, SQLITE_UTF8, nullptr, CompareBytes);
}

int Authorize(void* forbid_functions, int action, const char*, const char*, const char*, const char*) {
  if (action == SQLITE_ATTACH || action == SQLITE_DETACH) return SQLITE_DENY;
  if (action == SQLITE_FUNCTION && forbid_functions != nullptr) return SQLITE_DENY;
  return SQLITE_OK;
}

const char* PragmaName(sqlite::TextEncoding encoding) {
  switch (encoding) {
    case sqlite::TextEncoding::kUtf8: return "UTF-8";
    case sqlite::TextEncoding::kUtf16le: return "UTF-16le";
    case sqlite::TextEncoding::kUtf16be: return "UTF-16be";
  }
  return "UTF-8";
}

}  // namespace

Result<DbHandle> OpenScratch(sqlite::TextEncoding encoding) {
  sqlite3* raw = nullptr;
  int rc = sqlite3_open(":memory:", &raw);
  DbHandle db(raw);
  if (rc != SQLITE_OK) return Error(Errc::kExhausted, "cannot open a database in memory");
  sqlite3_collation_needed(raw, nullptr, AddCollation);
  AllowFunctions(raw);
  TRY(Run(raw, std::string("PRAGMA encoding='") + PragmaName(encoding) + "'"));
  TRY(Run(raw, "PRAGMA ignore_check_constraints=1"));
  TRY(Run(raw, "PRAGMA foreign_keys=0"));
  TRY(Run(raw, "PRAGMA journal_mode=OFF"));
  return db;
}

void ForbidFunctions(sqlite3* db) { sqlite3_set_authorizer(db, Authorize, db); }
void AllowFunctions(sqlite3* db) { sqlite3_set_authorizer(db, Authorize, nullptr); }

Result<Statement> Prepare(sqlite3* db, const std::string& sql) {
  sqlite3_stmt* raw = nullptr;
  const char* rest = nullptr;
  int rc = sqlite3_prepare_v2(db, sql.c_str(), -1, &raw, &rest);
  Statement statement(raw);
  if (rc != SQLITE_OK || raw == nullptr) return Error(Errc::kInvalid, std::string("sqlite: ") + sqlite3_errmsg(db));
  if (std::strspn(rest, " \t\r\n;") != std::strlen(rest)) return Error(Errc::kInvalid, "more than one statement");
  return statement;
}

Status Run(sqlite3* db, const std::string& sql) {
  return ForEachRow(db, sql, [](sqlite3_stmt*) {});
}

Status ForEachRow(sqlite3* db, const std::string& sql, const std::function<void(sqlite3_stmt*)>& row) {
  TRY_ASSIGN(Statement statement, Prepare(db, sql));
  int rc = sqlite3_step(statement.get());
  for (; rc == SQLITE_ROW; rc = sqlite3_step(statement.get())) row(statement.get());
  if (rc != SQLITE_DONE) return Error(Errc::kInvalid, std::string("sqlite: ") + sqlite3_errmsg(db));
  return Ok();
}

std::string TextColumn(sqlite3_stmt* statement, int column) {
  const char* text = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  if (text == nullptr) return std::string();
  return std::string(text, static_cast<size_t>(sqlite3_column_bytes(statement, column)));
}

sqlite::OwnedValue ValueColumn(sqlite3_stmt* statement, int column, sqlite::TextEncoding encoding) {
  sqlite::OwnedValue value;
  switch (sqlite3_column_type(statement, column)) {
    case SQLITE_NULL: return value;
    case SQLITE_INTEGER:
      value.type = sqlite::ValueType::kInteger;
      value.integer = sqlite3_column_int64(statement, column);
      return value;
    case SQLITE_FLOAT:
      value.type = sqlite::ValueType::kReal;
      value.real = sqlite3_column_double(statement, column);
      return value;
    case SQLITE_BLOB: {
      value.type = sqlite::ValueType::kBlob;
      const char* bytes = static_cast<const char*>(sqlite3_column_blob(statement, column));
      if (bytes != nullptr) value.bytes.assign(bytes, static_cast<size_t>(sqlite3_column_bytes(statement, column)));
      return value;
    }
    default: break;
  }
  value.type = sqlite::ValueType::kText;
  if (encoding == sqlite::TextEncoding::kUtf8) {
    value.bytes = TextColumn(statement, column);
    return value;
  }
  const char* text = static_cast<const char*>(sqlite3_column_text16(statement, column));
  if (text != nullptr) value.bytes.assign(text, static_cast<size_t>(sqlite3_column_bytes16(statement, column)));
  if (encoding == sqlite::TextEncoding::kUtf16be) {  // column_text16 is in host order
    for (size_t i = 0; i + 1 < value.bytes.size(); i += 2) std::swap(value.bytes[i], value.bytes[i + 1]);
  }
  return value;
}

void BindValue(sqlite3_stmt* statement, int parameter, const sqlite::Value& value, sqlite::TextEncoding encoding) {
  const char* bytes = value.bytes.empty() ? "" : reinterpret_cast<const char*>(value.bytes.data());
  switch (value.type) {
    case sqlite::ValueType::kNull: sqlite3_bind_null(statement, parameter); return;
    case sqlite::ValueType::kInteger: sqlite3_bind_int64(statement, parameter, value.integer); return;
    case sqlite::ValueType::kReal: sqlite3_bind_double(statement, parameter, value.real); return;
    case sqlite::ValueType::kBlob:
      sqlite3_bind_blob64(statement, parameter, bytes, value.bytes.size(), SQLITE_STATIC);
      return;
    case sqlite::ValueType::kText: break;
  }
  unsigned char code = encoding == sqlite::TextEncoding::kUtf8      ? SQLITE_UTF8
                       : encoding == sqlite::TextEncoding::kUtf16le ? SQLITE_UTF16LE
                                                                    : SQLITE_UTF16BE;
  // A copy: SQLite may want to read UTF-16 two bytes at a time, from an even address.
  sqlite3_bind_text64(statement, parameter, bytes, value.bytes.size(), SQLITE_TRANSIENT, code);
}

std::string Quoted(const std::string& name) {
  std::string out = "\"";
  for (char c : name) {
    out += c;
    if (c == '"') out += c;
  }
  return out + '"';
}

}  // namespace runnel::feed
