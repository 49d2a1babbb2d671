// Events as messages of events.proto.
#pragma once

#include <string>

#include "subscriber/feed/event_encoder.h"
#include "subscriber/feed/proto_text.h"

namespace runnel::feed {

class ProtoEncoder : public EventEncoder {
 public:
  explicit ProtoEncoder(const EncoderOptions& options) : options_(options) {}

  void Begin(const CommitContext& context) override;
  void ForgetTables() override { table_ = nullptr; }
  Event RowEvent(const RowChange& change, const RowOrder& order) override;
  Event SnapshotEvent(const TableDef& table, const Row& row, uint64_t ordinal) override;
  Event MarkLast(const Event& event) override;
  Event SchemaEvent(const SchemaChange& change, uint64_t ordinal) override;
  Event CommitBegins() override;
  Event CommitEnds(uint64_t ordinal, uint64_t rows, std::span<const TableCount> tables) override;

 private:
  const std::string& TopicFor(const TableDef& table);
  ProtoText RowOf(const TableDef& table, const Row& row, const Row* other) const;
  ProtoText ValueOf(const sqlite::Value& value, const sqlite::Value* other, sqlite::TextEncoding encoding,
                    bool whole) const;
  ProtoText CutOf(const sqlite::Value& value, sqlite::TextEncoding encoding) const;
  ProtoText SourceOf(std::string_view table, std::string_view snapshot, uint64_t ordinal) const;
  void KeyOf(const TableDef& table, const Row& row);
  Event Done(uint32_t kind, const ProtoText& message, std::string_view topic, uint64_t ordinal);

  const EncoderOptions options_;
  CommitContext context_;
  std::string transaction_id_;
  const TableDef* table_ = nullptr;  // whose topic this is
  std::string topic_;
  ProtoText event_;
  std::string key_;
  size_t snapshot_from_end_ = 0;
};

}  // namespace runnel::feed
