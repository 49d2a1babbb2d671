// An empty SQLite database in memory, for schema texts and expressions of a database that is not ours to trust: nothing
// can be attached, and functions can be forbidden.
#pragma once

#include <sqlite3.h>

#include <functional>
#include <memory>
#include <string>

#include "ltx/base/result.h"
#include "ltx/sqlite/record.h"

namespace runnel::feed {

struct CloseDb {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
struct FinalizeStatement {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using DbHandle = std::unique_ptr<sqlite3, CloseDb>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

// A database of this encoding. Unknown collations compare bytes; ATTACH is refused. Errors: kExhausted.
Result<DbHandle> OpenScratch(sqlite::TextEncoding encoding);
// From now on statements with a function are refused.
void ForbidFunctions(sqlite3* db);
void AllowFunctions(sqlite3* db);

// One statement, all of the text. Errors: kInvalid with SQLite's message.
Result<Statement> Prepare(sqlite3* db, const std::string& sql);
Status Run(sqlite3* db, const std::string& sql);
Status ForEachRow(sqlite3* db, const std::string& sql, const std::function<void(sqlite3_stmt*)>& row);

std::string TextColumn(sqlite3_stmt* statement, int column);
// Any value; text as raw bytes of the encoding.
sqlite::OwnedValue ValueColumn(sqlite3_stmt* statement, int column, sqlite::TextEncoding encoding);
void BindValue(sqlite3_stmt* statement, int parameter, const sqlite::Value& value, sqlite::TextEncoding encoding);

// "name" with quotes doubled.
std::string Quoted(const std::string& name);

}  // namespace runnel::feed
