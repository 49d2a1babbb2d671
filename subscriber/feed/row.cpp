#include "subscriber/feed/row.h"

#include <set>

namespace runnel::feed {
namespace {

std::string ScratchKey(const TableDef& def) { return def.name + '\0' + static_cast<char>(def.encoding) + def.sql; }

}  // namespace

Status RowDecoder::Decode(const TableDef& def, const sqlite::Image& image, const sqlite::CellAt& at, Row& row) {
  TRY_ASSIGN(Bytes payload, sqlite::ReadPayload(image, at.pgno, at.cell, row.payload));
  Status decoded = sqlite::DecodeRecord(payload, fields_);
  if (!decoded.ok()) return sqlite::PageError(at.pgno, decoded.error().message());
  if (fields_.size() > def.stored.size())
    return sqlite::PageError(at.pgno, "a record with more fields than its table has columns");
  row.values.resize(def.columns.size());  // each is stored or computed
  for (size_t i = 0; i < def.stored.size(); ++i) {
    const ColumnDef& column = def.columns[static_cast<size_t>(def.stored[i])];
    // Short records were written before the column was added.
    sqlite::Value value = i < fields_.size() ? fields_[i] : column.default_value.View();
    if (value.type == sqlite::ValueType::kInteger && column.real_affinity) {
      value = sqlite::Value::Real(static_cast<double>(value.integer));
    }
    row.values[static_cast<size_t>(def.stored[i])] = value;
  }
  if (def.rowid_alias >= 0) row.values[static_cast<size_t>(def.rowid_alias)] = sqlite::Value::Integer(at.cell.rowid);
  if (!def.has_virtual) return Ok();
  TRY_ASSIGN(VirtualColumns * columns, ColumnsOf(def));
  return columns->Evaluate(row.values, row.virtual_values);
}

Result<VirtualColumns*> RowDecoder::ColumnsOf(const TableDef& def) {
  Scratch& scratch = scratch_[ScratchKey(def)];
  if (scratch.columns == nullptr) {
    scratch.def = std::make_unique<TableDef>(def);
    TRY_ASSIGN(scratch.columns, VirtualColumns::Open(*scratch.def));
  }
  return scratch.columns.get();
}

void RowDecoder::Keep(const Schema& schema) {
  if (scratch_.empty()) return;
  std::set<std::string> keys;
  for (const TableDef& table : schema.tables) keys.insert(ScratchKey(table));
  std::erase_if(scratch_, [&keys](const auto& entry) { return keys.count(entry.first) == 0; });
}

}  // namespace runnel::feed
