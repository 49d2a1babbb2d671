// Events as Debezium's JSON writes them with schemas off (EVENTS.md has the format). The hot path of the feed: texts
// that do not change are made once for each table, everything goes into one buffer that is used again.
#pragma once

#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "subscriber/feed/event_encoder.h"
#include "subscriber/feed/json_text.h"

namespace runnel::feed {

class DebeziumEncoder : public EventEncoder {
 public:
  explicit DebeziumEncoder(const EncoderOptions& options);

  void Begin(const CommitContext& context) override;
  void ForgetTables() override;
  Event RowEvent(const RowChange& change, const RowOrder& order) override;
  Event SnapshotEvent(const TableDef& table, const Row& row, uint64_t ordinal) override;
  Event MarkLast(const Event& event) override;
  Event SchemaEvent(const SchemaChange& change, uint64_t ordinal) override;
  Event CommitBegins() override;
  Event CommitEnds(uint64_t ordinal, uint64_t rows, std::span<const TableCount> tables) override;

 private:
  struct Column {
    std::string label;  // {"id": or ,"name":
    bool blob = false;
  };
  struct TableText {
    std::string topic;
    std::vector<Column> columns;
    std::vector<std::string> key_labels;
    std::vector<int> key;
    std::string place;  // ,"db":"app","table":"t","lineage":"...","txid":"
  };
  // A value beside the one it replaces, if there is one.
  struct Cell {
    const sqlite::Value& value;
    const sqlite::Value* other = nullptr;
    sqlite::TextEncoding encoding;
  };

  const TableText& TextOf(const TableDef& table);
  void RowValue(const TableText& text, const TableDef& table, const Row* row, const Row* other);
  void CellValue(bool blob_column, const Cell& cell);
  void TextValue(bool blob_column, Bytes bytes, sqlite::TextEncoding encoding);
  void LargeValue(const Cell& cell);
  void Utf8(Bytes text, sqlite::TextEncoding encoding);
  void Source(std::string_view place, std::string_view snapshot, uint64_t ordinal);
  void SourceUpToOrdinal(std::string_view place, std::string_view snapshot, JsonText& out);
  void Key(const TableText& text, const TableDef& table, const Row& row);
  void TableShape(const TableDef& table);
  void ColumnMap(const SchemaChange& change);
  std::string SchemaPlace(std::string_view table) const;
  Token TokenOf(uint64_t ordinal) const;
  Event Done(std::string_view topic, uint64_t ordinal) const;

  const EncoderOptions options_;
  const std::string source_head_;  // ,"source":{"version":... up to the commit's time
  CommitContext context_;
  std::string lineage_;
  std::string txid_;
  std::string transaction_id_;  // lineage:txid
  std::string transaction_head_;
  std::string tail_;  // ,"ts_ms":...}
  std::unordered_map<const TableDef*, std::unique_ptr<TableText>> tables_;
  const TableDef* last_table_ = nullptr;
  const TableText* last_text_ = nullptr;
  JsonText row_source_;  // of the commit's rows of one table, up to their number
  const TableText* row_source_of_ = nullptr;
  JsonText value_;
  JsonText key_;
  size_t snapshot_at_ = 0;  // where the value says which row of a snapshot this is
};

}  // namespace runnel::feed
