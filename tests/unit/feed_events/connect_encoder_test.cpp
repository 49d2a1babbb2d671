// Events with schemas: the payload is what is written without, and the schema allows it (EVENTS.md, "Schemas").
#include "subscriber/feed/connect_encoder.h"

#include <limits>

#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "ltx/base/bytes.h"
#include "tests/unit/feed_events/encoder_setup.h"

namespace runnel::feed {
namespace {

using nlohmann::json;
using sqlite::Value;
using sqlite::ValueType;

Value Text(std::string_view text) { return Value{ValueType::kText, 0, 0, AsBytes(text)}; }
Value Blob(std::string_view text) { return Value{ValueType::kBlob, 0, 0, AsBytes(text)}; }

// What Kafka Connect's converter would refuse is refused here.
void Conforms(const json& schema, const json& value, const std::string& at) {
  if (value.is_null()) {
    EXPECT_TRUE(schema.at("optional").get<bool>()) << at;
    return;
  }
  const std::string type = schema.at("type");
  if (type == "struct") {
    ASSERT_TRUE(value.is_object()) << at;
    EXPECT_EQ(schema.at("fields").size(), value.size()) << at;
    for (const json& field : schema.at("fields")) {
      const std::string name = field.at("field");
      ASSERT_TRUE(value.contains(name)) << at << "." << name;
      Conforms(field, value.at(name), at + "." + name);
    }
  } else if (type == "array") {
    for (const json& one : value) Conforms(schema.at("items"), one, at + "[]");
  } else if (type == "int64") {
    EXPECT_TRUE(value.is_number_integer()) << at;
  } else if (type == "double") {
    EXPECT_TRUE(value.is_number()) << at;
  } else {
    EXPECT_TRUE(type == "string" || type == "bytes") << at << ": " << type;
    EXPECT_TRUE(value.is_string()) << at;
  }
}

class ConnectEncoderTest : public ::testing::Test {
 protected:
  void Make(uint64_t value_bytes_max = 0) {
    EncoderOptions options = TestOptions();
    options.value_bytes_max = value_bytes_max;
    plain_ = MakeEncoder(options);
    options.schemas = true;
    encoder_ = MakeEncoder(options);
    plain_->Begin(TestCommit());
    encoder_->Begin(TestCommit());
    for (const auto& [name, type] : {std::pair("id", "INTEGER"), {"t", "TEXT"}, {"b", "BLOB"}, {"x", ""}}) {
      ColumnDef column;
      column.name = name;
      column.type = type;
      table_.columns.push_back(column);
    }
    table_.name = "t";
    table_.primary_key = {0};
    table_.columns[0].not_null = true;
  }
  // Both encoders, and that they say the same. Returns the schema.
  json Check(const Event& plain, const Event& event) {
    const json value = json::parse(event.value);
    EXPECT_EQ(event.token, plain.token);
    EXPECT_EQ(event.topic, plain.topic);
    EXPECT_EQ(event.end, plain.end);
    EXPECT_TRUE(event.value.ends_with(",\"payload\":" + std::string(plain.value) + "}"));
    if (!value.at("schema").is_null()) Conforms(value.at("schema"), value.at("payload"), "value");
    EXPECT_EQ(event.key.empty(), plain.key.empty());
    if (!event.key.empty()) {
      const json key = json::parse(event.key);
      EXPECT_EQ(key.at("payload"), json::parse(plain.key));
      if (!key.at("schema").is_null()) Conforms(key.at("schema"), key.at("payload"), "key");
    }
    return value.at("schema");
  }
  json Changed(const Row* before, const Row* after) {
    RowChange change;
    change.op = before == nullptr  ? RowChange::Op::kInsert
                : after == nullptr ? RowChange::Op::kDelete
                                   : RowChange::Op::kUpdate;
    change.table = &table_;
    change.before = before;
    change.after = after;
    const Event plain = plain_->RowEvent(change, {7, 3, 2});
    return Check(plain, encoder_->RowEvent(change, {7, 3, 2}));
  }
  // {"type":...,...} of one column behind the change.
  static json Column(const json& schema, size_t image, size_t column) {
    return schema.at("fields").at(image).at("fields").at(column);
  }

  TableDef table_;
  std::unique_ptr<EventEncoder> plain_;
  std::unique_ptr<EventEncoder> encoder_;
};

TEST_F(ConnectEncoderTest, HasTheDeclaredTypesForValuesThatHaveThemAndForNull) {
  Make();
  Row full;
  Row nulls;
  full.values = {Value::Integer(1), Text("text"), Blob("blob"), Text("any")};
  nulls.values = {Value::Integer(1), Value(), Value(), Value()};
  const json schema = Changed(nullptr, &full);
  EXPECT_EQ(schema, Changed(&full, &nulls));
  EXPECT_EQ(schema, Changed(&nulls, nullptr));
  EXPECT_EQ(schema.at("name"), "cdc.app.t.Envelope");
  EXPECT_EQ(schema.at("fields").at(1).at("name"), "cdc.app.t.Value");
  EXPECT_EQ(Column(schema, 1, 0), json::parse(R"({"type":"int64","optional":false,"field":"id"})"));
  EXPECT_EQ(Column(schema, 1, 1), json::parse(R"({"type":"string","optional":true,"field":"t"})"));
  EXPECT_EQ(Column(schema, 1, 2), json::parse(R"({"type":"bytes","optional":true,"field":"b"})"));
  EXPECT_EQ(Column(schema, 1, 3), json::parse(R"({"type":"string","optional":true,"field":"x"})"));
}

TEST_F(ConnectEncoderTest, AllowsEveryValueWhereverItStands) {
  Make(4);
  const std::vector<Value> values = {
      Value(),   Value::Integer(5), Value::Real(2.5), Value::Real(std::numeric_limits<double>::infinity()),
      Text("t"), Text("\xff"),      Text("longer"),   Text("\xff\xff\xff\xff\xff"),
      Blob("b"), Blob("longer")};
  for (const Value& before : values) {
    for (const Value& after : values) {
      Row old_row;
      Row new_row;
      old_row.values = {before, before, before, before};
      new_row.values = {after, after, after, after};
      Changed(&old_row, &new_row);
      Changed(nullptr, &new_row);
      Changed(&old_row, nullptr);
    }
  }
}

TEST_F(ConnectEncoderTest, WrapsSnapshotsTransactionsAndSchemaChanges) {
  Make();
  Row row;
  row.values = {Value::Integer(1), Text("text"), Value(), Value()};
  const Event held = encoder_->SnapshotEvent(table_, row, 1);
  Check(plain_->MarkLast(plain_->SnapshotEvent(table_, row, 1)), encoder_->MarkLast(held));
  Check(plain_->CommitBegins(), encoder_->CommitBegins());
  const std::vector<TableCount> counts = {{"t", 3}};
  Check(plain_->CommitEnds(4, 3, counts), encoder_->CommitEnds(4, 3, counts));
  const SchemaChange change{SchemaChange::Kind::kCreateTable, nullptr, &table_, nullptr, {}};
  EXPECT_TRUE(Check(plain_->SchemaEvent(change, 1), encoder_->SchemaEvent(change, 1)).is_null());
}

}  // namespace
}  // namespace runnel::feed
