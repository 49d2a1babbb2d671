#include "subscriber/feed/schema.h"

#include <algorithm>
#include <array>
#include <limits>

#include "ltx/sqlite/btree_cursor.h"
#include "subscriber/feed/schema_parser.h"
#include "subscriber/feed/text.h"

namespace runnel::feed {
namespace {

Result<SchemaRow> DecodeSchemaRow(const sqlite::Image& image, const sqlite::CellAt& at) {
  std::string buffer;
  std::vector<sqlite::Value> fields;
  TRY_ASSIGN(Bytes payload, sqlite::ReadPayload(image, at.pgno, at.cell, buffer));
  Status decoded = sqlite::DecodeRecord(payload, fields);
  if (!decoded.ok()) return sqlite::PageError(at.pgno, decoded.error().message());
  if (fields.size() != 5) return sqlite::PageError(at.pgno, "a row of sqlite_schema without five columns");
  auto text = [&](size_t i) {
    return fields[i].type == sqlite::ValueType::kText ? sqlite::ToUtf8(fields[i].bytes, image.encoding())
                                                      : std::string();
  };
  SchemaRow row{text(0), text(1), text(2), Pgno(0), text(4)};
  if (fields[3].type == sqlite::ValueType::kInteger) {
    int64_t root = fields[3].integer;
    if (root < 0 || root > std::numeric_limits<uint32_t>::max())
      return sqlite::PageError(at.pgno, "a root page out of range");
    row.root = Pgno(static_cast<uint32_t>(root));
  }
  return row;
}

// The inner tables of FTS3/4/5 and R-Tree; named after the virtual table, as SQLite's own modules do it.
bool IsShadowOf(const std::string& table, const std::string& virtual_table) {
  constexpr std::array<const char*, 13> kSuffixes = {"content", "docsize", "segdir", "segments", "stat",
                                                     "config",  "data",    "idx",    "node",     "parent",
                                                     "rowid",   "vocab",   "chunks"};
  if (table.size() <= virtual_table.size() + 1 || table.compare(0, virtual_table.size(), virtual_table) != 0)
    return false;
  if (table[virtual_table.size()] != '_') return false;
  std::string suffix = table.substr(virtual_table.size() + 1);
  return std::find(kSuffixes.begin(), kSuffixes.end(), suffix) != kSuffixes.end();
}

TableDef::Kind KindOf(const std::string& name, const std::vector<SchemaRow>& rows) {
  std::string lower = Lower(name);
  if (lower.compare(0, 7, "sqlite_") == 0) return TableDef::Kind::kInternal;
  for (const SchemaRow& row : rows) {
    if (row.type == "table" && row.root.raw() == 0 && IsShadowOf(lower, Lower(row.name)))
      return TableDef::Kind::kShadow;
  }
  return TableDef::Kind::kOrdinary;
}

const TableDef* FindKnown(const Schema* known, const SchemaRow& row, sqlite::TextEncoding encoding) {
  if (known == nullptr) return nullptr;
  for (const TableDef& table : known->tables) {
    if (table.name == row.name && table.sql == row.sql && table.encoding == encoding) return &table;
  }
  return nullptr;
}

}  // namespace

const TableDef* Schema::FindByRoot(Pgno root) const {
  auto found = std::lower_bound(tables.begin(), tables.end(), root,
                                [](const TableDef& table, Pgno at) { return table.root < at; });
  return found != tables.end() && found->root == root ? &*found : nullptr;
}

const TableDef* Schema::FindByName(const std::string& name) const {
  for (const TableDef& table : tables) {
    if (table.name == name) return &table;
  }
  return nullptr;
}

std::vector<Pgno> Schema::Roots() const {
  std::vector<Pgno> roots = {Pgno(1)};
  for (const TableDef& table : tables) roots.push_back(table.root);
  return roots;
}

Result<Schema> ReadSchema(const sqlite::Image& image, const Schema* known) {
  Schema schema;
  if (image.page_count() == 0) return schema;
  sqlite::TreeCursor cursor(image, Pgno(1));
  while (true) {
    TRY_ASSIGN(bool more, cursor.Next());
    if (!more) break;
    TRY_ASSIGN(SchemaRow row, DecodeSchemaRow(image, cursor.at()));
    schema.rows.push_back(std::move(row));
  }
  for (const SchemaRow& row : schema.rows) {
    if (row.type != "table" || row.root.raw() == 0) continue;  // virtual tables: only their shadow tables have rows
    const TableDef* same = FindKnown(known, row, image.encoding());
    TableDef def;
    if (same != nullptr) {
      def = *same;
    } else {
      TRY_ASSIGN(def, ParseTable(row.name, row.sql, image.encoding()));
    }
    def.root = row.root;
    def.kind = KindOf(row.name, schema.rows);
    schema.tables.push_back(std::move(def));
  }
  std::sort(schema.tables.begin(), schema.tables.end(),
            [](const TableDef& a, const TableDef& b) { return a.root < b.root; });
  for (size_t i = 1; i < schema.tables.size(); ++i) {
    if (schema.tables[i].root == schema.tables[i - 1].root) {
      return sqlite::PageError(schema.tables[i].root, "the root of two tables, " + schema.tables[i - 1].name + " and " +
                                                          schema.tables[i].name);
    }
  }
  return schema;
}

}  // namespace runnel::feed
