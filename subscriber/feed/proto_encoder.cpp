#include "subscriber/feed/proto_encoder.h"

#include "ltx/base/bytes.h"

namespace runnel::feed {

using sqlite::Value;
using sqlite::ValueType;

namespace {

// Kinds of Event (events.proto).
constexpr uint32_t kChange = 1;
constexpr uint32_t kCommit = 2;
constexpr uint32_t kSchema = 3;

std::string_view TypeOf(SchemaChange::Kind kind) {
  using Kind = SchemaChange::Kind;
  if (kind == Kind::kAlterTable) return "ALTER";
  return kind == Kind::kCreateTable || kind == Kind::kCreateObject ? "CREATE" : "DROP";
}

ProtoText ShapeOf(const TableDef& table) {
  ProtoText shape;
  for (const ColumnDef& column : table.columns) {
    ProtoText one;
    one.Bytes(1, NameText(column.name));
    one.Bytes(2, NameText(column.type));
    if (column.not_null) one.Unsigned(3, 1);
    if (column.kind != ColumnKind::kPlain) one.Unsigned(4, 1);
    shape.Message(1, one);
  }
  for (int column : KeyColumns(table)) shape.Bytes(2, NameText(table.columns[static_cast<size_t>(column)].name));
  if (table.without_rowid) shape.Unsigned(3, 1);
  if (table.strict) shape.Unsigned(4, 1);
  return shape;
}

}  // namespace

void ProtoEncoder::Begin(const CommitContext& context) {
  context_ = context;
  transaction_id_ = ToString(context.lineage) + ":" + runnel::ToString(context.txid);
}

const std::string& ProtoEncoder::TopicFor(const TableDef& table) {
  if (table_ != &table) topic_ = TopicOf(options_.database, table.name);
  table_ = &table;
  return topic_;
}

Event ProtoEncoder::Done(uint32_t kind, const ProtoText& message, std::string_view topic, uint64_t ordinal) {
  event_.Clear();
  event_.Message(kind, message);
  Event event;
  event.token = Token{context_.lineage, context_.txid, context_.snapshot, ordinal};
  event.topic = topic;
  event.key = key_;
  event.value = event_.bytes();
  return event;
}

Event ProtoEncoder::RowEvent(const RowChange& change, const RowOrder& order) {
  const TableDef& table = *change.table;
  ProtoText message;
  if (change.before != nullptr) message.Message(1, RowOf(table, *change.before, change.after));
  if (change.after != nullptr) message.Message(2, RowOf(table, *change.after, change.before));
  message.Message(3, SourceOf(table.name, "false", order.ordinal));
  ProtoText transaction;
  transaction.Bytes(1, transaction_id_);
  transaction.Unsigned(2, order.total);
  transaction.Unsigned(3, order.in_table);
  message.Message(4, transaction);
  message.Bytes(5, std::string(1, static_cast<char>(change.op)));
  message.Signed(6, context_.processed_ms);
  KeyOf(table, change.after != nullptr ? *change.after : *change.before);
  return Done(kChange, message, TopicFor(table), order.ordinal);
}

Event ProtoEncoder::SnapshotEvent(const TableDef& table, const Row& row, uint64_t ordinal) {
  ProtoText message;
  message.Message(2, RowOf(table, row, nullptr));
  message.Bytes(5, "r");
  message.Signed(6, context_.processed_ms);
  // Last, so that its end is near the event's: MarkLast has to find it.
  ProtoText behind = SourceOf(table.name, "", ordinal);
  behind.Bytes(5, "true");
  message.Message(3, behind);
  snapshot_from_end_ = 4;
  KeyOf(table, row);
  return Done(kChange, message, TopicFor(table), ordinal);
}

Event ProtoEncoder::MarkLast(const Event& event) {
  event_.bytes().replace(event_.bytes().size() - snapshot_from_end_, 4, "last");
  Event last = event;
  last.value = event_.bytes();
  last.end = true;
  return last;
}

ProtoText ProtoEncoder::RowOf(const TableDef& table, const Row& row, const Row* other) const {
  ProtoText out;
  for (size_t i = 0; i < table.columns.size(); ++i) {
    ProtoText column;
    column.Bytes(1, NameText(table.columns[i].name));
    column.Message(2, ValueOf(row.values[i], other != nullptr ? &other->values[i] : nullptr, table.encoding, false));
    out.Message(1, column);
  }
  return out;
}

ProtoText ProtoEncoder::ValueOf(const Value& value, const Value* other, sqlite::TextEncoding encoding,
                                bool whole) const {
  ProtoText out;
  bool large = !whole && options_.value_bytes_max != 0 && value.bytes.size() > options_.value_bytes_max;
  if (large && other != nullptr && Same(value, *other)) {
    out.Unsigned(7, 1);
    return out;
  }
  if (large) {
    out.Message(6, CutOf(value, encoding));
    return out;
  }
  switch (value.type) {
    case ValueType::kNull: break;
    case ValueType::kInteger: out.ZigZag(1, value.integer); break;
    case ValueType::kReal: out.Double(2, value.real); break;
    case ValueType::kText:
      if (IsValidText(value.bytes, encoding)) {
        out.Bytes(3, sqlite::ToUtf8(value.bytes, encoding));
      } else {
        out.Bytes(4, AsText(value.bytes));
      }
      break;
    case ValueType::kBlob: out.Bytes(5, AsText(value.bytes)); break;
  }
  return out;
}

ProtoText ProtoEncoder::CutOf(const Value& value, sqlite::TextEncoding encoding) const {
  ProtoText cut;
  bool text = value.type == ValueType::kText && IsValidText(value.bytes, encoding);
  if (text) {
    cut.Bytes(1, sqlite::ToUtf8(CutText(value.bytes, encoding, options_.value_bytes_max), encoding));
  } else {
    cut.Bytes(1, AsText(value.bytes.first(options_.value_bytes_max)));
  }
  cut.Unsigned(2, value.bytes.size());
  cut.Bytes(3, text ? "text" : value.type == ValueType::kText ? "raw_text" : "blob");
  return cut;
}

// `snapshot` empty: the caller writes that field.
ProtoText ProtoEncoder::SourceOf(std::string_view table, std::string_view snapshot, uint64_t ordinal) const {
  ProtoText source;
  source.Bytes(1, options_.version);
  source.Bytes(2, kConnector);
  source.Bytes(3, options_.name);
  source.Signed(4, context_.captured_ms);
  source.Bytes(6, options_.database);
  source.Bytes(7, NameText(table));
  source.Bytes(8, std::string_view(reinterpret_cast<const char*>(context_.lineage.data()), context_.lineage.size()));
  source.Unsigned(9, context_.txid.raw());
  source.Unsigned(10, ordinal);
  if (!snapshot.empty()) source.Bytes(5, snapshot);
  return source;
}

void ProtoEncoder::KeyOf(const TableDef& table, const Row& row) {
  key_.clear();
  if (!options_.keys) return;
  ProtoText key;
  for (int i : KeyColumns(table)) {
    size_t at = static_cast<size_t>(i);
    ProtoText column;
    column.Bytes(1, NameText(table.columns[at].name));
    column.Message(2, ValueOf(row.values[at], nullptr, table.encoding, true));
    key.Message(1, column);
  }
  key_ = key.bytes();
}

Event ProtoEncoder::SchemaEvent(const SchemaChange& change, uint64_t ordinal) {
  const TableDef* table = change.after != nullptr ? change.after : change.before;
  ProtoText message;
  message.Bytes(1, TypeOf(change.kind));
  message.Bytes(2, NameText(change.sql()));
  message.Bytes(3, table != nullptr ? "table" : NameText(change.object->type));
  message.Bytes(4, NameText(table != nullptr ? table->name : change.object->name));
  if (change.kind == SchemaChange::Kind::kAlterTable) {
    if (change.before->name != table->name) message.Bytes(5, NameText(change.before->name));
    for (size_t i = 0; i < change.column_map.size(); ++i) {
      ProtoText mapping;
      mapping.Bytes(1, NameText(table->columns[i].name));
      int from = change.column_map[i];
      if (from >= 0) {
        mapping.Bytes(2, NameText(change.before->columns[static_cast<size_t>(from)].name));
      } else {
        mapping.Message(3, ValueOf(table->columns[i].default_value.View(), nullptr, table->encoding, false));
      }
      message.Message(7, mapping);
    }
  }
  if (change.after != nullptr) message.Message(6, ShapeOf(*change.after));
  std::string_view of = table != nullptr ? std::string_view(table->name) : change.object->table;
  message.Message(8, SourceOf(of, context_.snapshot ? "true" : "false", ordinal));
  message.Signed(9, context_.processed_ms);
  key_.clear();
  return Done(kSchema, message, kSchemaTopic, ordinal);
}

Event ProtoEncoder::CommitBegins() {
  ProtoText message;
  message.Bytes(1, "BEGIN");
  message.Bytes(2, transaction_id_);
  message.Signed(6, context_.captured_ms);
  key_.clear();
  return Done(kCommit, message, kTransactionTopic, 0);
}

Event ProtoEncoder::CommitEnds(uint64_t ordinal, uint64_t rows, std::span<const TableCount> tables) {
  ProtoText message;
  message.Bytes(1, "END");
  message.Bytes(2, transaction_id_);
  message.Unsigned(3, rows);
  for (const TableCount& table : tables) {
    ProtoText count;
    count.Bytes(1, NameText(options_.database + "." + table.table));
    count.Unsigned(2, table.events);
    message.Message(4, count);
  }
  message.Unsigned(5, ordinal);
  message.Signed(6, context_.captured_ms);
  key_.clear();
  Event end = Done(kCommit, message, kTransactionTopic, ordinal);
  end.end = true;
  return end;
}

}  // namespace runnel::feed
