// Debezium's events with schemas, as Kafka Connect's JSON converter writes them with schemas.enable=true:
// {"schema":...,"payload":...}. The payload is, byte for byte, what DebeziumEncoder writes.
//
// SQLite's values have types of their own, whatever a column declares. So a schema is made for what an event holds: the
// declared types where values have them, or are NULL, and others where they do not. Consumers that look at schemas see
// another one then, and none sees a value that its schema does not allow.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>

#include "subscriber/feed/debezium_encoder.h"
#include "subscriber/feed/event_encoder.h"
#include "subscriber/feed/json_text.h"

namespace runnel::feed {

class ConnectEncoder : public EventEncoder {
 public:
  explicit ConnectEncoder(const EncoderOptions& options);

  void Begin(const CommitContext& context) override { inner_.Begin(context); }
  void ForgetTables() override;
  Event RowEvent(const RowChange& change, const RowOrder& order) override;
  Event SnapshotEvent(const TableDef& table, const Row& row, uint64_t ordinal) override;
  Event MarkLast(const Event& event) override;
  Event SchemaEvent(const SchemaChange& change, uint64_t ordinal) override;
  Event CommitBegins() override;
  Event CommitEnds(uint64_t ordinal, uint64_t rows, std::span<const TableCount> tables) override;

 private:
  // Of one table: schemas by the forms of the values they are for.
  struct TableSchemas {
    std::string name;  // cdc.app.orders
    std::vector<int> key;
    std::unordered_map<std::string, std::string> envelopes;
    std::unordered_map<std::string, std::string> keys;
  };

  TableSchemas& SchemasOf(const TableDef& table);
  Event Row(const TableDef& table, const feed::Row* before, const feed::Row* after, const Event& inner);
  void TakeForms(const TableDef& table, const feed::Row* row, const feed::Row* other);
  Event Wrap(const Event& inner, const std::string& schema, const std::string& key_schema);

  const EncoderOptions options_;
  DebeziumEncoder inner_;
  std::unordered_map<const TableDef*, std::unique_ptr<TableSchemas>> tables_;
  const std::string transaction_schema_;
  const std::string transaction_key_schema_;
  // Of the event made last.
  const std::string* schema_ = nullptr;
  const std::string* key_schema_ = nullptr;
  std::string forms_;
  JsonText value_;
  JsonText key_;
};

}  // namespace runnel::feed
