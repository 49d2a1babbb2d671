#include <gtest/gtest.h>

#include <limits>

#include "events.pb.h"
#include "ltx/base/bytes.h"
#include "subscriber/feed/event_encoder.h"
#include "tests/unit/feed_events/encoder_setup.h"

namespace runnel::feed {
namespace {

using sqlite::Value;
using sqlite::ValueType;

class ProtoEncoderTest : public ::testing::Test {
 protected:
  ProtoEncoderTest() {
    for (const char* name : {"id", "v", "b"}) {
      ColumnDef column;
      column.name = name;
      table_.columns.push_back(column);
    }
    table_.name = "people";
    table_.sql = "CREATE TABLE people(id INTEGER PRIMARY KEY, v, b)";
    table_.stored = {0, 1, 2};
    table_.primary_key = {0};
    EncoderOptions options = TestOptions();
    options.format = EventFormat::kProtobuf;
    encoder_ = MakeEncoder(options);
    encoder_->Begin(TestCommit());
  }
  pb::Event Read(const Event& event) {
    pb::Event read;
    EXPECT_TRUE(read.ParseFromArray(event.value.data(), static_cast<int>(event.value.size())));
    return read;
  }
  Row RowOf(const Value& v, const Value& b) {
    Row row;
    row.values = {Value::Integer(-7), v, b};
    return row;
  }

  TableDef table_;
  std::unique_ptr<EventEncoder> encoder_;
};

TEST_F(ProtoEncoderTest, WritesChangesThatProtocReads) {
  Row before = RowOf(Value::Real(0.5), Value());
  Row after = RowOf(Value{ValueType::kText, 0, 0, AsBytes("é")}, Value{ValueType::kBlob, 0, 0, AsBytes("\xff\x01")});
  RowChange change;
  change.op = RowChange::Op::kUpdate;
  change.table = &table_;
  change.before = &before;
  change.after = &after;
  Event event = encoder_->RowEvent(change, {7, 3, 2});
  pb::Event read = Read(event);
  ASSERT_TRUE(read.has_change());
  const pb::Change& c = read.change();
  EXPECT_EQ(c.op(), "u");
  EXPECT_EQ(c.ts_ms(), 2000);
  ASSERT_EQ(c.before().columns_size(), 3);
  EXPECT_EQ(c.before().columns(0).content().integer(), -7);
  EXPECT_EQ(c.before().columns(1).content().real(), 0.5);
  EXPECT_EQ(c.before().columns(2).content().kind_case(), pb::Value::KIND_NOT_SET);
  EXPECT_EQ(c.after().columns(1).name(), "v");
  EXPECT_EQ(c.after().columns(1).content().text(), "é");
  EXPECT_EQ(c.after().columns(2).content().blob(), "\xff\x01");
  EXPECT_EQ(c.source().db(), "app");
  EXPECT_EQ(c.source().table(), "people");
  EXPECT_EQ(c.source().lineage(), std::string(16, '\xab'));
  EXPECT_EQ(c.source().txid(), 42u);
  EXPECT_EQ(c.source().ordinal(), 7u);
  EXPECT_EQ(c.source().snapshot(), "false");
  EXPECT_EQ(c.transaction().total_order(), 3u);
  pb::Row key;
  ASSERT_TRUE(key.ParseFromArray(event.key.data(), static_cast<int>(event.key.size())));
  EXPECT_EQ(key.columns(0).content().integer(), -7);
}

TEST_F(ProtoEncoderTest, MarksTheLastRowOfASnapshot) {
  Row row = RowOf(Value{ValueType::kText, 0, 0, AsBytes("\xff")}, Value::Integer(std::numeric_limits<int64_t>::min()));
  Event event = encoder_->SnapshotEvent(table_, row, 1);
  EXPECT_EQ(Read(event).change().source().snapshot(), "true");
  pb::Event last = Read(encoder_->MarkLast(event));
  EXPECT_EQ(last.change().source().snapshot(), "last");
  EXPECT_EQ(last.change().op(), "r");
  EXPECT_EQ(last.change().after().columns(1).content().raw_text(), "\xff");
  EXPECT_EQ(last.change().after().columns(2).content().integer(), std::numeric_limits<int64_t>::min());
}

TEST_F(ProtoEncoderTest, WritesCommitsAndSchemas) {
  TableCount count{"people", 3};
  pb::Event end = Read(encoder_->CommitEnds(4, 3, {&count, 1}));
  EXPECT_EQ(end.commit().status(), "END");
  EXPECT_EQ(end.commit().event_count(), 3u);
  EXPECT_EQ(end.commit().data_collections(0).data_collection(), "app.people");
  EXPECT_EQ(Read(encoder_->CommitBegins()).commit().status(), "BEGIN");
  SchemaChange change{SchemaChange::Kind::kCreateTable, nullptr, &table_, nullptr, {}};
  pb::Event schema = Read(encoder_->SchemaEvent(change, 1));
  EXPECT_EQ(schema.schema().type(), "CREATE");
  EXPECT_EQ(schema.schema().ddl(), table_.sql);
  EXPECT_EQ(schema.schema().table().columns(1).name(), "v");
  EXPECT_EQ(schema.schema().table().primary_key(0), "id");
}

}  // namespace
}  // namespace runnel::feed
