#include "subscriber/feed/debezium_encoder.h"

#include <cmath>

namespace runnel::feed {

using sqlite::Value;
using sqlite::ValueType;

namespace {

std::string Quote(std::string_view text) {
  JsonText json;
  json.String(NameText(text));
  return std::string(json.view());
}

std::string SourceHead(const EncoderOptions& options) {
  return R"(,"source":{"version":")" + options.version + R"(","connector":)" + Quote(kConnector) + R"(,"name":)" +
         Quote(options.name) + R"(,"ts_ms":)";
}

std::string Place(const EncoderOptions& options, const CommitContext& context, std::string_view table) {
  return R"(,"db":)" + Quote(options.database) + R"(,"table":)" + (table.empty() ? "null" : Quote(table)) +
         R"(,"lineage":")" + ToString(context.lineage) + R"(","txid":")";
}

}  // namespace

DebeziumEncoder::DebeziumEncoder(const EncoderOptions& options)
    : options_(options), source_head_(SourceHead(options)) {}

void DebeziumEncoder::Begin(const CommitContext& context) {
  if (context.lineage != context_.lineage || lineage_.empty()) {
    ForgetTables();
    lineage_ = ToString(context.lineage);
  }
  // Put together in place: the memory is there already.
  txid_ = runnel::ToString(context.txid);
  transaction_id_.assign(lineage_).append(1, ':').append(txid_);
  transaction_head_.assign(R"(,"transaction":{"id":")").append(transaction_id_).append(R"(","total_order":)");
  if (tail_.empty() || context.processed_ms != context_.processed_ms) {
    tail_ = R"(,"ts_ms":)" + std::to_string(context.processed_ms) + "}";
  }
  context_ = context;
  row_source_of_ = nullptr;
}

void DebeziumEncoder::ForgetTables() {
  tables_.clear();
  last_table_ = nullptr;
  row_source_of_ = nullptr;
}

const DebeziumEncoder::TableText& DebeziumEncoder::TextOf(const TableDef& table) {
  if (last_table_ == &table) return *last_text_;
  std::unique_ptr<TableText>& text = tables_[&table];
  if (text == nullptr) {
    text = std::make_unique<TableText>();
    text->topic = TopicOf(options_.database, table.name);
    for (const ColumnDef& column : table.columns) {
      std::string label = (text->columns.empty() ? "{" : ",") + Quote(column.name) + ":";
      text->columns.push_back({std::move(label), IsBlobColumn(column)});
    }
    text->key = KeyColumns(table);
    for (int column : text->key) {
      const std::string& name = table.columns[static_cast<size_t>(column)].name;
      text->key_labels.push_back((text->key_labels.empty() ? "{" : ",") + Quote(name) + ":");
    }
    text->place = Place(options_, context_, table.name);
  }
  last_table_ = &table;
  last_text_ = text.get();
  return *text;
}

std::string DebeziumEncoder::SchemaPlace(std::string_view table) const { return Place(options_, context_, table); }

Token DebeziumEncoder::TokenOf(uint64_t ordinal) const {
  return Token{context_.lineage, context_.txid, context_.snapshot, ordinal};
}

Event DebeziumEncoder::Done(std::string_view topic, uint64_t ordinal) const {
  Event event;
  event.token = TokenOf(ordinal);
  event.topic = topic;
  event.key = key_.view();
  event.value = value_.view();
  return event;
}

Event DebeziumEncoder::RowEvent(const RowChange& change, const RowOrder& order) {
  const TableDef& table = *change.table;
  const TableText& text = TextOf(table);
  value_.Clear();
  value_.Put(R"({"before":)");
  RowValue(text, table, change.before, change.after);
  value_.Put(R"(,"after":)");
  RowValue(text, table, change.after, change.before);
  if (row_source_of_ != &text) {
    row_source_.Clear();
    SourceUpToOrdinal(text.place, "false", row_source_);
    row_source_of_ = &text;
  }
  value_.Put(row_source_.view());
  value_.Number(order.ordinal);
  value_.Put('}');
  value_.Put(transaction_head_);
  value_.Number(order.total);
  value_.Put(R"(,"data_collection_order":)");
  value_.Number(order.in_table);
  value_.Put(R"(},"op":")");
  value_.Put(static_cast<char>(change.op));
  value_.Put('"');
  value_.Put(tail_);
  key_.Clear();
  if (options_.keys) Key(text, table, change.after != nullptr ? *change.after : *change.before);
  return Done(text.topic, order.ordinal);
}

Event DebeziumEncoder::SnapshotEvent(const TableDef& table, const Row& row, uint64_t ordinal) {
  const TableText& text = TextOf(table);
  value_.Clear();
  value_.Put(R"({"before":null,"after":)");
  RowValue(text, table, &row, nullptr);
  Source(text.place, "true", ordinal);
  value_.Put(R"(,"transaction":null,"op":"r")");
  value_.Put(tail_);
  key_.Clear();
  if (options_.keys) Key(text, table, row);
  return Done(text.topic, ordinal);
}

Event DebeziumEncoder::MarkLast(const Event& event) {
  value_.Patch(snapshot_at_, "last");
  Event last = Done(event.topic, event.token.ordinal);
  last.end = true;
  return last;
}

// `,"source":{...}` of the current commit.
void DebeziumEncoder::Source(std::string_view place, std::string_view snapshot, uint64_t ordinal) {
  SourceUpToOrdinal(place, snapshot, value_);
  value_.Number(ordinal);
  value_.Put('}');
}

void DebeziumEncoder::SourceUpToOrdinal(std::string_view place, std::string_view snapshot, JsonText& out) {
  out.Put(source_head_);
  out.Number(context_.captured_ms);
  out.Put(R"(,"snapshot":")");
  snapshot_at_ = out.size();
  out.Put(snapshot);
  out.Put('"');
  out.Put(place);
  out.Put(txid_);
  out.Put(R"(","ordinal":)");
}

void DebeziumEncoder::RowValue(const TableText& text, const TableDef& table, const Row* row, const Row* other) {
  if (row == nullptr) {
    value_.Put("null");
    return;
  }
  for (size_t i = 0; i < text.columns.size(); ++i) {
    const Column& column = text.columns[i];
    value_.Put(column.label);
    CellValue(column.blob, {row->values[i], other != nullptr ? &other->values[i] : nullptr, table.encoding});
  }
  value_.Put('}');
}

void DebeziumEncoder::CellValue(bool blob_column, const Cell& cell) {
  const Value& value = cell.value;
  switch (value.type) {
    case ValueType::kNull: value_.Put("null"); return;
    case ValueType::kInteger: value_.Number(value.integer); return;
    case ValueType::kReal:
      if (std::isfinite(value.real)) return value_.Real(value.real);
      value_.Put(value.real > 0 ? R"({"real":"Infinity"})" : R"({"real":"-Infinity"})");
      return;
    case ValueType::kText:
    case ValueType::kBlob: break;
  }
  if (options_.value_bytes_max != 0 && value.bytes.size() > options_.value_bytes_max) return LargeValue(cell);
  if (value.type == ValueType::kText) return TextValue(blob_column, value.bytes, cell.encoding);
  if (blob_column) return value_.Base64(value.bytes);
  value_.Put(R"({"blob":)");
  value_.Base64(value.bytes);
  value_.Put('}');
}

void DebeziumEncoder::TextValue(bool blob_column, Bytes bytes, sqlite::TextEncoding encoding) {
  if (!IsValidText(bytes, encoding)) {
    value_.Put(R"({"text_base64":)");
    value_.Base64(bytes);
    value_.Put('}');
  } else if (blob_column) {
    value_.Put(R"({"text":)");
    Utf8(bytes, encoding);
    value_.Put('}');
  } else {
    Utf8(bytes, encoding);
  }
}

void DebeziumEncoder::Utf8(Bytes text, sqlite::TextEncoding encoding) {
  if (encoding == sqlite::TextEncoding::kUtf8) return value_.String(AsText(text));
  value_.String(sqlite::ToUtf8(text, encoding));
}

// Above the cap: what the update left alone is only marked, the rest is cut and says so.
void DebeziumEncoder::LargeValue(const Cell& cell) {
  const Value& value = cell.value;
  if (cell.other != nullptr && Same(value, *cell.other)) return value_.String(kUnavailableValue);
  bool text = value.type == ValueType::kText && IsValidText(value.bytes, cell.encoding);
  if (text) {
    value_.Put(R"({"text_cut":)");
    Utf8(CutText(value.bytes, cell.encoding, options_.value_bytes_max), cell.encoding);
  } else {
    value_.Put(value.type == ValueType::kText ? R"({"text_base64_cut":)" : R"({"blob_cut":)");
    value_.Base64(value.bytes.first(options_.value_bytes_max));
  }
  value_.Put(R"(,"bytes":)");
  value_.Number(uint64_t{value.bytes.size()});
  value_.Put('}');
}

// Into key_, with the same rules as values.
void DebeziumEncoder::Key(const TableText& text, const TableDef& table, const Row& row) {
  if (text.key.empty()) return;
  std::swap(key_, value_);
  for (size_t i = 0; i < text.key.size(); ++i) {
    size_t column = static_cast<size_t>(text.key[i]);
    value_.Put(text.key_labels[i]);
    const Value& value = row.values[column];
    // A key is never cut.
    if (value.type == ValueType::kText) {
      TextValue(text.columns[column].blob, value.bytes, table.encoding);
    } else if (value.type == ValueType::kBlob) {
      if (!text.columns[column].blob) value_.Put(R"({"blob":)");
      value_.Base64(value.bytes);
      if (!text.columns[column].blob) value_.Put('}');
    } else {
      CellValue(false, {value, nullptr, table.encoding});
    }
  }
  value_.Put('}');
  std::swap(key_, value_);
}

Event DebeziumEncoder::CommitBegins() {
  value_.Clear();
  key_.Clear();
  value_.Put(R"({"status":"BEGIN","id":")");
  value_.Put(transaction_id_);
  value_.Put(R"(","event_count":null,"data_collections":null,"ordinal":0,"ts_ms":)");
  value_.Number(context_.captured_ms);
  value_.Put('}');
  if (options_.keys) {
    key_.Put(R"({"id":")");
    key_.Put(transaction_id_);
    key_.Put(R"("})");
  }
  return Done(kTransactionTopic, 0);
}

Event DebeziumEncoder::CommitEnds(uint64_t ordinal, uint64_t rows, std::span<const TableCount> tables) {
  Event begin = CommitBegins();  // the same key
  value_.Clear();
  value_.Put(R"({"status":"END","id":")");
  value_.Put(transaction_id_);
  value_.Put(R"(","event_count":)");
  value_.Number(rows);
  value_.Put(R"(,"data_collections":[)");
  for (const TableCount& table : tables) {
    if (&table != tables.data()) value_.Put(',');
    value_.Put(R"({"data_collection":)");
    value_.String(NameText(options_.database + "." + table.table));
    value_.Put(R"(,"event_count":)");
    value_.Number(table.events);
    value_.Put('}');
  }
  value_.Put(R"(],"ordinal":)");
  value_.Number(ordinal);
  value_.Put(R"(,"ts_ms":)");
  value_.Number(context_.captured_ms);
  value_.Put('}');
  Event end = Done(begin.topic, ordinal);
  end.end = true;
  return end;
}

}  // namespace runnel::feed
