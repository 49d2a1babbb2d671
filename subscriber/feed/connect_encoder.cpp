#include "subscriber/feed/connect_encoder.h"

#include <cmath>
#include <utility>

#include "subscriber/feed/text.h"

namespace runnel::feed {

using sqlite::Value;
using sqlite::ValueType;

namespace {

// How a value is written in an event (EVENTS.md, "Values"); one letter each, so that a row's forms are a short text.
enum class Form : char {
  kNull = 'n',
  kInteger = 'i',
  kReal = 'r',
  kText = 't',
  kBytes = 'b',
  kUnavailable = 'u',
  kInfinity = 'I',
  kTextInBlobColumn = 'T',
  kInvalidText = 'X',
  kBlobElsewhere = 'B',
  kCutText = 'c',
  kCutInvalidText = 'x',
  kCutBlob = 'C',
};

// A schema that a JSON converter has nothing to say about: what comes is taken as it is.
const std::string kNoSchema = "null";

std::string Quote(std::string_view text) {
  JsonText json;
  json.String(NameText(text));
  return std::string(json.view());
}

bool IsValid(const Value& value, const TableDef& table) { return IsValidText(value.bytes, table.encoding); }

Form FormOf(const Value& value, const TableDef& table, const ColumnDef& column) {
  switch (value.type) {
    case ValueType::kNull: return Form::kNull;
    case ValueType::kInteger: return Form::kInteger;
    case ValueType::kReal: return std::isfinite(value.real) ? Form::kReal : Form::kInfinity;
    case ValueType::kText:
      if (!IsValid(value, table)) return Form::kInvalidText;
      return IsBlobColumn(column) ? Form::kTextInBlobColumn : Form::kText;
    case ValueType::kBlob: return IsBlobColumn(column) ? Form::kBytes : Form::kBlobElsewhere;
  }
  return Form::kNull;
}

Form LargeFormOf(const Value& value, const Value* other, const TableDef& table) {
  if (other != nullptr && Same(value, *other)) return Form::kUnavailable;
  if (value.type == ValueType::kBlob) return Form::kCutBlob;
  return IsValid(value, table) ? Form::kCutText : Form::kCutInvalidText;
}

bool IsLarge(const Value& value, uint64_t bytes_max) {
  const bool has_bytes = value.type == ValueType::kText || value.type == ValueType::kBlob;
  return bytes_max != 0 && has_bytes && value.bytes.size() > bytes_max;
}

// What a NULL could be instead, by SQLite's rules of affinity; a column without a type holds texts as soon as anything.
Form DeclaredForm(const ColumnDef& column) {
  const std::string type = Lower(column.type);
  auto has = [&type](const char* part) { return type.find(part) != std::string::npos; };
  if (has("int")) return Form::kInteger;
  if (has("char") || has("clob") || has("text")) return Form::kText;
  if (has("blob")) return Form::kBytes;
  if (has("real") || has("floa") || has("doub")) return Form::kReal;
  return Form::kText;
}

// {"type":"struct","fields":[{"type":"bytes","optional":false,"field":"blob"}], without its end
std::string Struct(std::string_view field, std::string_view type, bool with_size) {
  std::string schema = R"({"type":"struct","fields":[{"type":")" + std::string(type) +
                       R"(","optional":false,"field":")" + std::string(field) + R"("})";
  if (with_size) schema += R"(,{"type":"int64","optional":false,"field":"bytes"})";
  return schema + "]";
}

std::string TypeOf(Form form) {
  switch (form) {
    case Form::kInteger: return R"({"type":"int64")";
    case Form::kReal: return R"({"type":"double")";
    case Form::kBytes: return R"({"type":"bytes")";
    case Form::kInfinity: return Struct("real", "string", false);
    case Form::kTextInBlobColumn: return Struct("text", "string", false);
    case Form::kInvalidText: return Struct("text_base64", "bytes", false);
    case Form::kBlobElsewhere: return Struct("blob", "bytes", false);
    case Form::kCutText: return Struct("text_cut", "string", true);
    case Form::kCutInvalidText: return Struct("text_base64_cut", "bytes", true);
    case Form::kCutBlob: return Struct("blob_cut", "bytes", true);
    case Form::kNull:
    case Form::kText:
    case Form::kUnavailable: break;
  }
  return R"({"type":"string")";
}

std::string FieldSchema(Form form, const ColumnDef& column) {
  const std::string type = TypeOf(form == Form::kNull ? DeclaredForm(column) : form);
  const bool optional = !column.not_null || form == Form::kNull;
  return type + R"(,"optional":)" + (optional ? "true" : "false") + R"(,"field":)" + Quote(column.name) + "}";
}

// {"type":"struct","fields":[...]: of the columns with these forms, without its end.
std::string RowSchema(const TableDef& table, std::string_view forms) {
  std::string schema = R"({"type":"struct","fields":[)";
  for (size_t i = 0; i < table.columns.size(); ++i) {
    if (i != 0) schema += ',';
    schema += FieldSchema(i < forms.size() ? static_cast<Form>(forms[i]) : Form::kNull, table.columns[i]);
  }
  return schema + "]";
}

constexpr std::string_view kSourceSchema =
    R"({"type":"struct","fields":[{"type":"string","optional":false,"field":"version"},)"
    R"({"type":"string","optional":false,"field":"connector"},{"type":"string","optional":false,"field":"name"},)"
    R"({"type":"int64","optional":false,"field":"ts_ms"},{"type":"string","optional":true,)"
    R"("name":"io.debezium.data.Enum","version":1,"parameters":{"allowed":"true,last,false"},"default":"false",)"
    R"("field":"snapshot"},{"type":"string","optional":false,"field":"db"},)"
    R"({"type":"string","optional":true,"field":"table"},{"type":"string","optional":false,"field":"lineage"},)"
    R"({"type":"string","optional":false,"field":"txid"},{"type":"int64","optional":false,"field":"ordinal"}],)"
    R"("optional":false,"name":"io.runnel.Source","version":1,"field":"source"})";

constexpr std::string_view kBlockSchema =
    R"({"type":"struct","fields":[{"type":"string","optional":false,"field":"id"},)"
    R"({"type":"int64","optional":false,"field":"total_order"},)"
    R"({"type":"int64","optional":false,"field":"data_collection_order"}],)"
    R"("optional":true,"name":"event.block","version":1,"field":"transaction"})";

constexpr std::string_view kTransactionSchema =
    R"({"type":"struct","fields":[{"type":"string","optional":false,"field":"status"},)"
    R"({"type":"string","optional":false,"field":"id"},{"type":"int64","optional":true,"field":"event_count"},)"
    R"({"type":"array","items":{"type":"struct","fields":[)"
    R"({"type":"string","optional":false,"field":"data_collection"},)"
    R"({"type":"int64","optional":false,"field":"event_count"}],"optional":false,"name":"event.collection",)"
    R"("version":1},"optional":true,"field":"data_collections"},{"type":"int64","optional":false,"field":"ordinal"},)"
    R"({"type":"int64","optional":false,"field":"ts_ms"}],"optional":false,)"
    R"("name":"io.debezium.connector.common.TransactionMetadataValue","version":1})";

constexpr std::string_view kTransactionKeySchema =
    R"({"type":"struct","fields":[{"type":"string","optional":false,"field":"id"}],"optional":false,)"
    R"("name":"io.debezium.connector.common.TransactionMetadataKey","version":1})";

}  // namespace

ConnectEncoder::ConnectEncoder(const EncoderOptions& options)
    : options_(options),
      inner_(options),
      transaction_schema_(kTransactionSchema),
      transaction_key_schema_(kTransactionKeySchema) {}

void ConnectEncoder::ForgetTables() {
  inner_.ForgetTables();
  tables_.clear();
}

ConnectEncoder::TableSchemas& ConnectEncoder::SchemasOf(const TableDef& table) {
  std::unique_ptr<TableSchemas>& schemas = tables_[&table];
  if (schemas == nullptr) {
    schemas = std::make_unique<TableSchemas>();
    schemas->name = options_.name + "." + TopicOf(options_.database, table.name);
    schemas->key = KeyColumns(table);
  }
  return *schemas;
}

void ConnectEncoder::TakeForms(const TableDef& table, const feed::Row* row, const feed::Row* other) {
  for (size_t i = 0; row != nullptr && i < table.columns.size(); ++i) {
    const Value& value = row->values[i];
    const Form form = IsLarge(value, options_.value_bytes_max)
                          ? LargeFormOf(value, other != nullptr ? &other->values[i] : nullptr, table)
                          : FormOf(value, table, table.columns[i]);
    forms_ += static_cast<char>(form);
  }
}

Event ConnectEncoder::Row(const TableDef& table, const feed::Row* before, const feed::Row* after, const Event& inner) {
  TableSchemas& schemas = SchemasOf(table);
  forms_.clear();
  TakeForms(table, before, after);
  const size_t of_before = forms_.size();
  forms_ += '/';
  TakeForms(table, after, before);
  std::string& envelope = schemas.envelopes[forms_];
  if (envelope.empty()) {
    const std::string name = Quote(schemas.name + ".Value");
    const std::string_view forms = forms_;
    auto image = [&](std::string_view of, std::string_view field) {
      return RowSchema(table, of) + R"(,"optional":true,"name":)" + name + R"(,"field":")" + std::string(field) +
             "\"},";
    };
    // An image that is not there has the types of the one that is.
    const std::string_view old_forms = of_before != 0 ? forms.substr(0, of_before) : forms.substr(of_before + 1);
    const std::string_view new_forms = after != nullptr ? forms.substr(of_before + 1) : old_forms;
    envelope =
        R"({"type":"struct","fields":[)" + image(old_forms, "before") + image(new_forms, "after") +
        std::string(kSourceSchema) + "," + std::string(kBlockSchema) +
        R"(,{"type":"string","optional":false,"field":"op"},{"type":"int64","optional":true,"field":"ts_ms"}],)" +
        R"("optional":false,"name":)" + Quote(schemas.name + ".Envelope") + R"(,"version":1})";
  }
  if (!options_.keys || schemas.key.empty()) return Wrap(inner, envelope, kNoSchema);
  forms_.clear();
  const feed::Row& row = after != nullptr ? *after : *before;
  for (int column : schemas.key) {
    const size_t i = static_cast<size_t>(column);
    forms_ += static_cast<char>(FormOf(row.values[i], table, table.columns[i]));  // a key is never cut
  }
  std::string& key = schemas.keys[forms_];
  if (key.empty()) {
    key = R"({"type":"struct","fields":[)";
    for (size_t k = 0; k < schemas.key.size(); ++k) {
      if (k != 0) key += ',';
      key += FieldSchema(static_cast<Form>(forms_[k]), table.columns[static_cast<size_t>(schemas.key[k])]);
    }
    key += R"(],"optional":false,"name":)" + Quote(schemas.name + ".Key") + "}";
  }
  return Wrap(inner, envelope, key);
}

// {"schema":...,"payload":...}
Event ConnectEncoder::Wrap(const Event& inner, const std::string& schema, const std::string& key_schema) {
  schema_ = &schema;
  key_schema_ = &key_schema;
  auto wrap = [](JsonText& json, const std::string& of, std::string_view payload) {
    json.Clear();
    if (payload.empty()) return;
    json.Put(R"({"schema":)");
    json.Put(of);
    json.Put(R"(,"payload":)");
    json.Put(payload);
    json.Put('}');
  };
  wrap(value_, schema, inner.value);
  wrap(key_, key_schema, inner.key);
  Event event = inner;
  event.value = value_.view();
  event.key = key_.view();
  return event;
}

Event ConnectEncoder::RowEvent(const RowChange& change, const RowOrder& order) {
  return Row(*change.table, change.before, change.after, inner_.RowEvent(change, order));
}

Event ConnectEncoder::SnapshotEvent(const TableDef& table, const feed::Row& row, uint64_t ordinal) {
  return Row(table, nullptr, &row, inner_.SnapshotEvent(table, row, ordinal));
}

Event ConnectEncoder::MarkLast(const Event& event) { return Wrap(inner_.MarkLast(event), *schema_, *key_schema_); }

Event ConnectEncoder::SchemaEvent(const SchemaChange& change, uint64_t ordinal) {
  return Wrap(inner_.SchemaEvent(change, ordinal), kNoSchema, kNoSchema);
}

Event ConnectEncoder::CommitBegins() {
  return Wrap(inner_.CommitBegins(), transaction_schema_, transaction_key_schema_);
}

Event ConnectEncoder::CommitEnds(uint64_t ordinal, uint64_t rows, std::span<const TableCount> tables) {
  return Wrap(inner_.CommitEnds(ordinal, rows, tables), transaction_schema_, transaction_key_schema_);
}

}  // namespace runnel::feed
