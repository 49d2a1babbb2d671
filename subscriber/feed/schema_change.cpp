#include "subscriber/feed/schema_change.h"

#include <algorithm>
#include <functional>
#include <set>
#include <tuple>

#include "subscriber/feed/text.h"

namespace runnel::feed {
namespace {

using Kind = SchemaChange::Kind;

// New column <- old column: by name, else same place and same type is a rename.
std::vector<int> MapColumns(const TableDef& before, const TableDef& after) {
  std::vector<int> map(after.columns.size(), -1);
  std::vector<bool> used(before.columns.size(), false);
  for (size_t j = 0; j < map.size(); ++j) {
    for (size_t i = 0; i < used.size(); ++i) {
      if (used[i] || Lower(before.columns[i].name) != Lower(after.columns[j].name)) continue;
      map[j] = static_cast<int>(i);
      used[i] = true;
      break;
    }
  }
  for (size_t j = 0; j < std::min(map.size(), used.size()); ++j) {
    if (map[j] >= 0 || used[j]) continue;
    if (before.columns[j].type != after.columns[j].type || before.columns[j].kind != after.columns[j].kind) continue;
    map[j] = static_cast<int>(j);
    used[j] = true;
  }
  return map;
}

int Mapped(const std::vector<int>& map, int column) { return map[static_cast<size_t>(column)]; }

// Whether rows of both can be matched by key.
bool SameKey(const TableDef& before, const TableDef& after, const std::vector<int>& map) {
  if (before.without_rowid != after.without_rowid || before.key_order != after.key_order) return false;
  if (before.key_fields != after.key_fields || before.encoding != after.encoding) return false;
  if ((before.rowid_alias < 0) != (after.rowid_alias < 0)) return false;
  if (after.rowid_alias >= 0 && Mapped(map, after.rowid_alias) != before.rowid_alias) return false;
  if (before.primary_key.size() != after.primary_key.size()) return false;
  for (size_t i = 0; i < after.primary_key.size(); ++i) {
    if (Mapped(map, after.primary_key[i]) != before.primary_key[i]) return false;
  }
  for (size_t i = 0; i < after.key_fields; ++i) {
    if (Mapped(map, after.stored[i]) != before.stored[i]) return false;
  }
  return true;
}

// Whether equal bytes are equal rows under both definitions.
bool SameDecoding(const TableDef& before, const TableDef& after, const std::vector<int>& map) {
  if (before.has_virtual || after.has_virtual) return TextAfterName(before.sql) == TextAfterName(after.sql);
  if (before.stored.size() > after.stored.size()) return false;
  for (size_t i = 0; i < after.stored.size(); ++i) {
    int old = Mapped(map, after.stored[i]);
    if (i >= before.stored.size()) {
      if (old >= 0) return false;
      continue;
    }
    if (old != before.stored[i]) return false;
    const ColumnDef& a = before.columns[static_cast<size_t>(old)];
    const ColumnDef& b = after.columns[static_cast<size_t>(after.stored[i])];
    if (a.real_affinity != b.real_affinity || !Same(a.default_value.View(), b.default_value.View())) return false;
  }
  return true;
}

// The old root above the first unmarked page below a new root; 0: there is none.
Result<Pgno> OriginOf(const CommitView& view, Pgno root) {
  TRY_ASSIGN(sqlite::BtreePage page, sqlite::BtreePage::Read(view.after, root));
  for (uint32_t i = 0; !page.leaf() && i <= page.cell_count(); ++i) {
    TRY_ASSIGN(Pgno child, page.Child(i));
    if (view.marks.dirty.Contains(child) || child.raw() > view.before.page_count()) continue;
    return view.map.RootOf(child);
  }
  return Pgno(0);
}

class Pairing {
 public:
  Pairing(const Schema& before, const Schema& after) {
    for (const TableDef& table : before.tables) before_.push_back(&table);
    for (const TableDef& table : after.tables) after_.push_back(&table);
  }

  void PairWhere(const std::function<bool(const TableDef&, const TableDef&)>& matches) {
    for (const TableDef*& after : after_) {
      for (const TableDef*& before : before_) {
        if (after == nullptr || before == nullptr || !matches(*before, *after)) continue;
        std::vector<int> map = MapColumns(*before, *after);
        if (!SameKey(*before, *after, map)) continue;
        bool skip = SameDecoding(*before, *after, map);
        pairs_.push_back({before, after, std::move(map), skip});
        before = nullptr;
        after = nullptr;
      }
    }
  }

  std::vector<TablePair>& pairs() { return pairs_; }
  const std::vector<const TableDef*>& dropped() const { return before_; }  // null: paired
  const std::vector<const TableDef*>& created() const { return after_; }

 private:
  std::vector<const TableDef*> before_;
  std::vector<const TableDef*> after_;
  std::vector<TablePair> pairs_;
};

Status PairTables(const CommitView& view, const Schema& after, Pairing& pairing) {
  std::vector<std::pair<Pgno, Pgno>> origins;  // new root, old root; sorted as after.tables is
  for (const TableDef& table : after.tables) {
    Result<Pgno> origin = OriginOf(view, table.root);
    if (!origin.ok()) return origin.error().With("table " + table.name);
    origins.push_back({table.root, *origin});
  }
  auto origin_of = [&origins](Pgno root) {
    return std::lower_bound(origins.begin(), origins.end(), std::make_pair(root, Pgno(0)))->second;
  };
  pairing.PairWhere(
      [&](const TableDef& o, const TableDef& n) { return o.root == n.root && !view.changed.Contains(n.root); });
  pairing.PairWhere([&](const TableDef& o, const TableDef& n) { return o.root == origin_of(n.root); });
  pairing.PairWhere([](const TableDef& o, const TableDef& n) { return o.name == n.name; });
  pairing.PairWhere([](const TableDef& o, const TableDef& n) {
    return o.root == n.root && TextAfterName(o.sql) == TextAfterName(n.sql);
  });
  return Ok();
}

// Everything of `here` that is no table with rows and not in `there`.
void ReportObjects(const Schema& here, const Schema& there, Kind kind, std::vector<SchemaChange>& changes) {
  std::set<std::tuple<std::string, std::string, std::string>> known;
  for (const SchemaRow& row : there.rows) known.insert({row.type, row.name, row.sql});
  for (const SchemaRow& row : here.rows) {
    if (row.type == "table" && row.root.raw() != 0) continue;
    if (known.count({row.type, row.name, row.sql}) != 0) continue;
    changes.push_back(SchemaChange{kind, nullptr, nullptr, &row, {}});
  }
}

}  // namespace

const std::string& SchemaChange::sql() const {
  if (object != nullptr) return object->sql;
  return after != nullptr ? after->sql : before->sql;
}

std::string TextAfterName(const std::string& sql) {
  constexpr size_t kName = 13;  // "CREATE TABLE " is how SQLite stores it
  if (sql.size() <= kName) return std::string();
  size_t i = kName;
  char open = sql[kName];
  if (open == '"' || open == '`' || open == '[' || open == '\'') {
    char close = open == '[' ? ']' : open;
    for (++i; i < sql.size(); ++i) {
      if (sql[i] != close) continue;
      bool doubled = close != ']' && i + 1 < sql.size() && sql[i + 1] == close;
      if (!doubled) break;
      ++i;
    }
    if (i < sql.size()) ++i;
  } else {
    i = std::min(sql.find_first_of("( \n\t\r/-", kName), sql.size());
  }
  size_t rest = sql.find_first_not_of(" \n\t\r", i);
  return rest == std::string::npos ? std::string() : sql.substr(rest);
}

Result<SchemaDiff> CompareSchemas(const Schema& before, const Schema& after, const CommitView& view) {
  Pairing pairing(before, after);
  TRY(PairTables(view, after, pairing));
  SchemaDiff diff;
  ReportObjects(before, after, Kind::kDropObject, diff.changes);
  for (const TableDef* table : pairing.dropped()) {
    if (table != nullptr) diff.changes.push_back(SchemaChange{Kind::kDropTable, table, nullptr, nullptr, {}});
  }
  for (const TablePair& pair : pairing.pairs()) {
    if (pair.before->sql == pair.after->sql && pair.before->name == pair.after->name) continue;
    diff.changes.push_back(SchemaChange{Kind::kAlterTable, pair.before, pair.after, nullptr, pair.column_map});
  }
  for (const TableDef* table : pairing.created()) {
    if (table == nullptr) continue;
    diff.changes.push_back(SchemaChange{Kind::kCreateTable, nullptr, table, nullptr, {}});
    diff.pairs.push_back(TablePair{nullptr, table, {}, true});
  }
  ReportObjects(after, before, Kind::kCreateObject, diff.changes);
  for (TablePair& pair : pairing.pairs()) {
    bool touched = pair.before->root != pair.after->root || view.marks.dirty.Contains(pair.after->root);
    if (touched || !pair.skip_unchanged) diff.pairs.push_back(std::move(pair));
  }
  return diff;
}

}  // namespace runnel::feed
