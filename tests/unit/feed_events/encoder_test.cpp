// Events against what EVENTS.md says, and against the schemas that real Debezium events carry.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <limits>
#include <map>

#include <nlohmann/json.hpp>

#include "ltx/base/bytes.h"
#include "subscriber/feed/event_encoder.h"
#include "tests/unit/feed_events/encoder_setup.h"

namespace runnel::feed {
namespace {

using nlohmann::json;
using sqlite::Value;
using sqlite::ValueType;

Value Text(std::string_view text) { return Value{ValueType::kText, 0, 0, AsBytes(text)}; }
Value Blob(std::string_view text) { return Value{ValueType::kBlob, 0, 0, AsBytes(text)}; }

ColumnDef Column(const char* name, const char* type) {
  ColumnDef column;
  column.name = name;
  column.type = type;
  return column;
}

TableDef People() {
  TableDef table;
  table.name = "people";
  table.sql = "CREATE TABLE people(id INTEGER PRIMARY KEY, v TEXT, b BLOB)";
  table.columns = {Column("id", "INTEGER"), Column("v\"x", "TEXT"), Column("b", "BLOB")};
  table.stored = {0, 1, 2};
  table.primary_key = {0};
  table.rowid_alias = 0;
  return table;
}

class EncoderTest : public ::testing::Test {
 protected:
  void Make(uint64_t value_bytes_max = 0) {
    EncoderOptions options = TestOptions();
    options.value_bytes_max = value_bytes_max;
    encoder_ = MakeEncoder(options);
    encoder_->Begin(TestCommit());
  }
  json Changed(RowChange::Op op, const Row* before, const Row* after) {
    RowChange change;
    change.op = op;
    change.table = &table_;
    change.before = before;
    change.after = after;
    event_ = encoder_->RowEvent(change, {7, 3, 2});
    return json::parse(event_.value);
  }
  json ValueOf(const Value& value, size_t column) {
    Row row;
    row.values = {Value::Integer(1), Value(), Value()};
    row.values[column] = value;
    return Changed(RowChange::Op::kInsert, nullptr, &row)["after"][table_.columns[column].name];
  }

  TableDef table_ = People();
  std::unique_ptr<EventEncoder> encoder_;
  Event event_;
};

TEST_F(EncoderTest, WritesTheWholeEnvelope) {
  Make();
  Row before;
  Row after;
  before.values = {Value::Integer(1), Text("old"), Value()};
  after.values = {Value::Integer(1), Text("n\"ew"), Blob("\x01\x02")};
  json value = Changed(RowChange::Op::kUpdate, &before, &after);
  std::string lineage(32, 'a');
  for (size_t i = 1; i < 32; i += 2) lineage[i] = 'b';
  json want = json::parse(R"({"before":{"id":1,"v\"x":"old","b":null},"after":{"id":1,"v\"x":"n\"ew","b":"AQI="},
    "source":{"version":"1.2.3","connector":"runnel","name":"cdc","ts_ms":1000,"snapshot":"false","db":"app",
    "table":"people","lineage":")" +
                          lineage + R"(","txid":"000000000000002a","ordinal":7},
    "transaction":{"id":")" +
                          lineage + R"(:000000000000002a","total_order":3,"data_collection_order":2},
    "op":"u","ts_ms":2000})");
  EXPECT_EQ(value, want);
  EXPECT_EQ(event_.topic, "app.people");
  EXPECT_EQ(event_.key, R"({"id":1})");
  EXPECT_EQ(ToString(event_.token), lineage + ":000000000000002a:7");
}

TEST_F(EncoderTest, TellsEveryKindOfValueApart) {
  Make();
  EXPECT_EQ(ValueOf(Value(), 1), nullptr);
  EXPECT_TRUE(ValueOf(Value::Integer(5), 1).is_number_integer());
  EXPECT_TRUE(ValueOf(Value::Real(5), 1).is_number_float());
  EXPECT_EQ(ValueOf(Value::Real(std::numeric_limits<double>::infinity()), 1), (json{{"real", "Infinity"}}));
  EXPECT_EQ(ValueOf(Value::Real(-std::numeric_limits<double>::infinity()), 1), (json{{"real", "-Infinity"}}));
  EXPECT_EQ(ValueOf(Text("t"), 1), "t");
  EXPECT_EQ(ValueOf(Text("t"), 2), (json{{"text", "t"}}));
  EXPECT_EQ(ValueOf(Blob("t"), 2), "dA==");
  EXPECT_EQ(ValueOf(Blob("t"), 1), (json{{"blob", "dA=="}}));
  EXPECT_EQ(ValueOf(Text("\xff"), 1), (json{{"text_base64", "/w=="}}));
  table_.encoding = sqlite::TextEncoding::kUtf16le;
  EXPECT_EQ(ValueOf(Text(std::string_view("\xe9\0", 2)), 1), "é");
  EXPECT_EQ(ValueOf(Text(std::string_view("\x00\xd8", 2)), 1), (json{{"text_base64", "ANg="}}));  // half a pair
  EXPECT_EQ(ValueOf(Text("a"), 1), (json{{"text_base64", "YQ=="}}));                              // half a unit
}

TEST_F(EncoderTest, CutsWhatIsLargerThanTheCap) {
  Make(4);
  EXPECT_EQ(ValueOf(Text("abcd"), 1), "abcd");
  EXPECT_EQ(ValueOf(Text("abcdé"), 1), (json{{"text_cut", "abcd"}, {"bytes", 6}}));
  EXPECT_EQ(ValueOf(Text("abcéx"), 1), (json{{"text_cut", "abc"}, {"bytes", 6}}));  // never half a character
  EXPECT_EQ(ValueOf(Blob("abcdef"), 2), (json{{"blob_cut", "YWJjZA=="}, {"bytes", 6}}));
  EXPECT_EQ(ValueOf(Text("\xff\xff\xff\xff\xff"), 1), (json{{"text_base64_cut", "/////w=="}, {"bytes", 5}}));
  Row before;
  Row after;
  before.values = {Value::Integer(1), Text("unchanged"), Blob("a")};
  after.values = {Value::Integer(1), Text("unchanged"), Blob("b")};
  json value = Changed(RowChange::Op::kUpdate, &before, &after);
  EXPECT_EQ(value["before"]["v\"x"], kUnavailableValue);
  EXPECT_EQ(value["after"]["v\"x"], kUnavailableValue);
  EXPECT_EQ(value["after"]["b"], "Yg==");
}

TEST_F(EncoderTest, MarksTheLastRowOfASnapshot) {
  Make();
  Row row;
  row.values = {Value::Integer(1), Text("t"), Value()};
  Event event = encoder_->SnapshotEvent(table_, row, 3);
  EXPECT_EQ(json::parse(event.value)["source"]["snapshot"], "true");
  Event last = encoder_->MarkLast(event);
  json value = json::parse(last.value);
  EXPECT_EQ(value["source"]["snapshot"], "last");
  EXPECT_EQ(value["op"], "r");
  EXPECT_EQ(value["transaction"], nullptr);
}

// --- against Debezium

bool Fits(const json& schema, const json& value, std::string& why);

bool FitsField(const json& field, const json& parent, std::string& why) {
  std::string name = field["field"];
  bool optional = field.value("optional", false);
  if (!parent.contains(name) || parent[name].is_null()) {
    if (!optional) why = name + " is missing";
    return optional;
  }
  if (Fits(field, parent[name], why)) return true;
  why = name + ": " + why;
  return false;
}

bool Fits(const json& schema, const json& value, std::string& why) {
  std::string type = schema["type"];
  if (type == "struct") {
    // Rows have their own columns, whatever the recorded table had.
    for (const json& field : schema["fields"]) {
      if (field["field"] == "before" || field["field"] == "after") continue;
      if (!FitsField(field, value, why)) return false;
    }
    return value.is_object();
  }
  if (type == "array") {
    for (const json& item : value) {
      if (!Fits(schema["items"], item, why)) return false;
    }
    return value.is_array();
  }
  bool fits = type == "string"                     ? value.is_string()
              : type == "int64" || type == "int32" ? value.is_number_integer()
                                                   : true;
  if (!fits) why = "not of type " + type;
  return fits;
}

// By topic: the schema of the recorded values.
std::map<std::string, json> DebeziumSchemas() {
  std::map<std::string, json> schemas;
  std::ifstream lines(RUNNEL_SOURCE_DIR "/tests/golden/feed/debezium-envelope-events.jsonl");
  for (std::string line; std::getline(lines, line);) {
    json event = json::parse(line);
    if (event["value"].is_object()) schemas[event["topic"]] = event["value"]["schema"];
  }
  return schemas;
}

TEST_F(EncoderTest, HasWhatTheSchemasOfRealDebeziumEventsAskFor) {
  Make();
  json envelope = DebeziumSchemas().at("srv.public.t");
  // What is PostgreSQL's own in its source block.
  for (json& field : envelope["fields"]) {
    if (field["field"] != "source") continue;
    for (json& inner : field["fields"]) {
      if (inner["field"] == "schema") inner["optional"] = true;
    }
  }
  Row row;
  row.values = {Value::Integer(1), Text("t"), Value()};
  std::string why;
  for (const json& value :
       {Changed(RowChange::Op::kInsert, nullptr, &row), Changed(RowChange::Op::kUpdate, &row, &row),
        Changed(RowChange::Op::kDelete, &row, nullptr), json::parse(encoder_->SnapshotEvent(table_, row, 1).value)}) {
    EXPECT_TRUE(Fits(envelope, value, why)) << why << "\n" << value.dump();
  }
  json transaction = DebeziumSchemas().at("srv.transaction");
  TableCount count{"people", 3};
  EXPECT_TRUE(Fits(transaction, json::parse(encoder_->CommitBegins().value), why)) << why;
  EXPECT_TRUE(Fits(transaction, json::parse(encoder_->CommitEnds(4, 3, {&count, 1}).value), why)) << why;
}

}  // namespace
}  // namespace runnel::feed
