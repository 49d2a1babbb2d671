#include "tests/unit/feed/mirror.h"

#include <bit>

namespace runnel::testing {
namespace {

std::string TextOf(const sqlite::Value& value) {
  switch (value.type) {
    case sqlite::ValueType::kNull: return "N";
    case sqlite::ValueType::kInteger: return "I" + std::to_string(value.integer);
    case sqlite::ValueType::kReal: return "F" + std::to_string(std::bit_cast<uint64_t>(value.real));
    case sqlite::ValueType::kText: return "T" + std::string(AsText(value.bytes));
    case sqlite::ValueType::kBlob: return "B" + std::string(AsText(value.bytes));
  }
  return "?";
}

TextRow TextOf(const feed::Row& row) {
  TextRow texts;
  for (const sqlite::Value& value : row.values) texts.push_back(TextOf(value));
  return texts;
}

std::vector<int> KeyColumns(const feed::TableDef& def) {
  if (!def.without_rowid) return def.primary_key;
  return std::vector<int>(def.stored.begin(), def.stored.begin() + def.key_fields);
}

// Empty: no key, or one that does not identify (NULL).
TextRow KeyOf(const feed::TableDef& def, const TextRow& row) {
  TextRow key;
  for (int column : KeyColumns(def)) {
    key.push_back(row[static_cast<size_t>(column)]);
    if (key.back() == "N") return {};
  }
  return key;
}

void Remove(std::map<TextRow, int>& rows, const TextRow& row) {
  auto found = rows.find(row);
  if (found != rows.end() && --found->second == 0) rows.erase(found);
}

std::string ValueText(sqlite3_stmt* statement, int column) {
  std::string type = reinterpret_cast<const char*>(sqlite3_column_text(statement, column));
  int value = column + 1;
  auto bytes = [&]() {
    const char* start = static_cast<const char*>(sqlite3_column_blob(statement, value));
    return start == nullptr ? std::string()
                            : std::string(start, static_cast<size_t>(sqlite3_column_bytes(statement, value)));
  };
  if (type == "null") return "N";
  if (type == "integer") return "I" + std::to_string(sqlite3_column_int64(statement, value));
  if (type == "real") return "F" + std::to_string(std::bit_cast<uint64_t>(sqlite3_column_double(statement, value)));
  return (type == "text" ? "T" : "B") + bytes();
}

}  // namespace

Tables SelectAll(CapturedDb& db, std::set<std::string>& unreadable) {
  Tables tables;
  for (const std::string& name : db.Texts("SELECT name FROM sqlite_schema WHERE type='table' AND rootpage>0")) {
    MirrorTable table;
    std::string list;
    for (const std::string& column : db.Texts("SELECT name FROM pragma_table_xinfo(" + QuotedName(name) + ")")) {
      std::string q = "t." + QuotedName(column);
      table.columns.push_back(column);
      // Text as a blob: its raw bytes, in the encoding of the database.
      list += (list.empty() ? "typeof(" : ",typeof(") + q + "),CASE typeof(" + q + ") WHEN 'text' THEN CAST(" + q +
              " AS BLOB) ELSE " + q + " END";
    }
    sqlite3_stmt* statement = nullptr;
    std::string sql = "SELECT " + list + " FROM main." + QuotedName(name) + " t NOT INDEXED";
    int rc = sqlite3_prepare_v2(db.handle(), sql.c_str(), -1, &statement, nullptr);
    while (rc == SQLITE_OK || rc == SQLITE_ROW) {
      rc = sqlite3_step(statement);
      if (rc != SQLITE_ROW) break;
      TextRow row;
      for (int i = 0; i < sqlite3_column_count(statement); i += 2) row.push_back(ValueText(statement, i));
      ++table.rows[row];
    }
    sqlite3_finalize(statement);
    if (rc != SQLITE_DONE) unreadable.insert(name);
    tables[name] = std::move(table);
  }
  return tables;
}

std::string Difference(const Tables& have, const Tables& want, const std::set<std::string>& unreadable) {
  for (const auto& table : have) {
    if (want.count(table.first) == 0) return "table " + table.first + " should be gone";
  }
  for (const auto& table : want) {
    auto found = have.find(table.first);
    if (found == have.end()) return "table " + table.first + " is missing";
    if (unreadable.count(table.first) != 0 || found->second == table.second) continue;
    if (found->second.columns != table.second.columns) return "columns of " + table.first;
    for (const auto& row : table.second.rows) {
      auto there = found->second.rows.find(row.first);
      if (there == found->second.rows.end()) return table.first + ": row missing: " + row.first[0].substr(0, 30);
      if (there->second != row.second) return table.first + ": row not as often as it should be";
    }
    return table.first + ": a row too many";
  }
  return "";
}

std::string Mirror::Apply(const feed::Change& change) {
  if (change.schema != nullptr) return ApplySchema(*change.schema);
  Settle();
  return ApplyRow(*change.row);
}

std::string Mirror::EndCommit() {
  Settle();
  deleted_.clear();
  deleted_keys_.clear();
  return "";
}

void Mirror::Settle() {
  for (auto& table : moved_) {
    std::map<TextRow, int>& keys = keys_[table.first];
    keys.clear();
    for (const auto& row : table.second.rows) {
      TextRow key = KeyOf(*moved_defs_[table.first], row.first);
      if (!key.empty()) keys[key] += row.second;
    }
    tables_[table.first] = std::move(table.second);
  }
  moved_.clear();
}

std::string Mirror::ApplySchema(const feed::SchemaChange& change) {
  ++schema_changes;
  if (change.sql().empty() && change.object == nullptr) return "a schema change without its text";
  if (change.object != nullptr) return "";
  MirrorTable old;
  if (change.before != nullptr) {
    auto found = tables_.find(change.before->name);
    if (found == tables_.end()) return "a change of table " + change.before->name + ", which is not there";
    old = std::move(found->second);
    tables_.erase(found);
    keys_.erase(change.before->name);
  }
  if (change.after == nullptr) return "";
  MirrorTable table;
  for (const feed::ColumnDef& column : change.after->columns) table.columns.push_back(column.name);
  for (const auto& row : old.rows) {
    TextRow texts;
    for (size_t i = 0; i < change.column_map.size(); ++i) {
      int from = change.column_map[i];
      texts.push_back(from >= 0 ? row.first[static_cast<size_t>(from)]
                                : TextOf(change.after->columns[i].default_value.View()));
    }
    table.rows[texts] += row.second;
  }
  moved_defs_[change.after->name] = change.after;
  moved_[change.after->name] = std::move(table);
  return "";
}

std::string Mirror::ApplyRow(const feed::RowChange& change) {
  ++row_changes;
  const feed::TableDef& def = *change.table;
  auto found = tables_.find(def.name);
  if (found == tables_.end()) return "a row of table " + def.name + ", which is not there";
  std::map<TextRow, int>& rows = found->second.rows;
  std::map<TextRow, int>& keys = keys_[def.name];
  TextRow before;
  TextRow after;
  if (change.before != nullptr) {
    before = TextOf(*change.before);
    if (rows.count(before) == 0) return def.name + ": before-image of a row that is not there";
    Remove(rows, before);
    TextRow key = KeyOf(def, before);
    if (!key.empty()) Remove(keys, key);
    if (change.op == feed::RowChange::Op::kDelete) {
      deleted_[def.name].insert(before);
      if (!def.hidden_rowid()) deleted_keys_[def.name].insert(key);
    }
  }
  if (change.after != nullptr) {
    after = TextOf(*change.after);
    if (before == after) return def.name + ": an update that changes nothing";
    TextRow key = KeyOf(def, after);
    if (!key.empty() && ++keys[key] > 1) return def.name + ": a key that is there already";
    ++rows[after];
    if (change.op == feed::RowChange::Op::kInsert) {
      if (deleted_[def.name].count(after) != 0) return def.name + ": delete and insert of one row";
      if (deleted_keys_[def.name].count(key) != 0) return def.name + ": delete and insert of one key";
    }
  }
  return "";
}

}  // namespace runnel::testing
