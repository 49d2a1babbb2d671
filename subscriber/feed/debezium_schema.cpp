// Changes of the schema as Debezium's schema change events, with the mapping of columns that SQLite's ALTER leaves
// unsaid.
#include <string>

#include "subscriber/feed/debezium_encoder.h"

namespace runnel::feed {

using Kind = SchemaChange::Kind;

namespace {

std::string_view TypeOf(Kind kind) {
  switch (kind) {
    case Kind::kDropObject:
    case Kind::kDropTable: return "DROP";
    case Kind::kAlterTable: return "ALTER";
    case Kind::kCreateTable:
    case Kind::kCreateObject: return "CREATE";
  }
  return "";
}

std::string TableId(const std::string& database, const std::string& table) {
  std::string id = "\"" + database + "\".\"";
  for (char c : table) id += c == '"' ? std::string("\"\"") : std::string(1, c);
  return NameText(id + "\"");
}

}  // namespace

Event DebeziumEncoder::SchemaEvent(const SchemaChange& change, uint64_t ordinal) {
  const TableDef* table = change.after != nullptr ? change.after : change.before;
  std::string name = table != nullptr ? table->name : change.object->table;
  value_.Clear();
  key_.Clear();
  value_.Put("{\"databaseName\":");
  value_.String(NameText(options_.database));
  value_.Put(R"(,"schemaName":null,"ddl":)");
  value_.String(NameText(change.sql()));
  value_.Put(R"(,"object":)");
  value_.String(table != nullptr ? "table" : NameText(change.object->type));
  value_.Put(R"(,"objectName":)");
  value_.String(NameText(table != nullptr ? table->name : change.object->name));
  value_.Put(R"(,"tableChanges":[)");
  if (table != nullptr) {
    value_.Put(R"({"type":")");
    value_.Put(TypeOf(change.kind));
    value_.Put(R"(","id":)");
    value_.String(TableId(options_.database, table->name));
    value_.Put(R"(,"previousId":)");
    bool renamed = change.kind == Kind::kAlterTable && change.before->name != change.after->name;
    if (renamed) {
      value_.String(TableId(options_.database, change.before->name));
    } else {
      value_.Put("null");
    }
    value_.Put(R"(,"previousName":)");
    if (renamed) {
      value_.String(NameText(change.before->name));
    } else {
      value_.Put("null");
    }
    value_.Put(R"(,"table":)");
    if (change.after != nullptr) {
      TableShape(*change.after);
    } else {
      value_.Put("null");
    }
    value_.Put(R"(,"columnMap":)");
    ColumnMap(change);
    value_.Put('}');
  } else {
    value_.Put(R"({"type":")");
    value_.Put(TypeOf(change.kind));
    value_.Put(R"(","id":)");
    value_.String(TableId(options_.database, change.object->table));
    value_.Put(R"(,"table":null})");
  }
  value_.Put(']');
  Source(SchemaPlace(name), context_.snapshot ? "true" : "false", ordinal);
  value_.Put(tail_);
  if (options_.keys) {
    key_.Put(R"({"databaseName":)");
    key_.String(NameText(options_.database));
    key_.Put('}');
  }
  return Done(kSchemaTopic, ordinal);
}

// Where the values of each new column came from in the rows that were there.
void DebeziumEncoder::ColumnMap(const SchemaChange& change) {
  if (change.kind != Kind::kAlterTable) {
    value_.Put("null");
    return;
  }
  value_.Put('[');
  for (size_t i = 0; i < change.column_map.size(); ++i) {
    const ColumnDef& column = change.after->columns[i];
    int from = change.column_map[i];
    value_.Put(i == 0 ? R"({"name":)" : R"(,{"name":)");
    value_.String(NameText(column.name));
    if (from >= 0) {
      value_.Put(R"(,"from":)");
      value_.String(NameText(change.before->columns[static_cast<size_t>(from)].name));
    } else {
      value_.Put(R"(,"default":)");
      CellValue(IsBlobColumn(column), {column.default_value.View(), nullptr, change.after->encoding});
    }
    value_.Put('}');
  }
  value_.Put(']');
}

void DebeziumEncoder::TableShape(const TableDef& table) {
  value_.Put(R"({"primaryKeyColumnNames":[)");
  bool first = true;
  for (int column : KeyColumns(table)) {
    if (!first) value_.Put(',');
    first = false;
    value_.String(NameText(table.columns[static_cast<size_t>(column)].name));
  }
  value_.Put(table.without_rowid ? R"(],"withoutRowid":true,"strict":)" : R"(],"withoutRowid":false,"strict":)");
  value_.Put(table.strict ? R"(true,"columns":[)" : R"(false,"columns":[)");
  for (size_t i = 0; i < table.columns.size(); ++i) {
    const ColumnDef& column = table.columns[i];
    value_.Put(i == 0 ? R"({"name":)" : R"(,{"name":)");
    value_.String(NameText(column.name));
    value_.Put(R"(,"typeName":)");
    value_.String(NameText(column.type));
    value_.Put(R"(,"position":)");
    value_.Number(uint64_t{i + 1});
    value_.Put(column.not_null ? R"(,"optional":false)" : R"(,"optional":true)");
    value_.Put(R"(,"autoIncremented":false,"generated":)");
    value_.Put(column.kind == ColumnKind::kPlain ? "false}" : "true}");
  }
  value_.Put("]}");
}

}  // namespace runnel::feed
