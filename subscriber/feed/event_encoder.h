// From changes to the text of events (EVENTS.md): what a sink carries away.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "ltx/format/types.h"
#include "subscriber/feed/token.h"
#include "subscriber/feed/transaction.h"

namespace runnel::feed {

// One event as a sink gets it. LIFETIME of the texts: until the encoder is used again.
struct Event {
  Token token;
  std::string_view topic;  // "app.orders", "transaction", "schema": behind the sink's own prefix
  std::string_view key;    // "": none
  std::string_view value;
  bool end = false;  // nothing of this commit or snapshot follows
};

enum class EventFormat { kDebezium, kProtobuf };

struct EncoderOptions {
  EventFormat format = EventFormat::kDebezium;
  std::string version;           // of this program
  std::string name;              // of the feed: source.name, and what topics begin with
  std::string database;          // source.db
  uint64_t value_bytes_max = 0;  // longer texts and blobs are cut or marked as unchanged; 0: whole
  bool schemas = false;          // JSON only: each value and key with its schema (connect_encoder.h)
  bool keys = false;             // a sink that has no use for keys saves their cost
};

// What all events of one commit, or of one snapshot, have in common.
struct CommitContext {
  LineageId lineage{};
  Txid txid;
  bool snapshot = false;
  int64_t captured_ms = 0;   // when the publisher saw the commit
  int64_t processed_ms = 0;  // when the feed did
};

// How often a table was changed.
struct TableCount {
  std::string table;
  uint64_t events = 0;
};

// THREAD: one.
class EventEncoder {
 public:
  virtual ~EventEncoder() = default;

  virtual void Begin(const CommitContext& context) = 0;
  // Definitions seen so far may go away: call it when the schema has changed. LIFETIME: tables handed in, until then.
  virtual void ForgetTables() = 0;

  struct RowOrder {
    uint64_t ordinal = 0;
    uint64_t total = 0;     // among the rows of the commit, from 1
    uint64_t in_table = 0;  // among those of its table, from 1
  };
  virtual Event RowEvent(const RowChange& change, const RowOrder& order) = 0;
  // A row of the snapshot. MarkLast makes the event just returned the last one.
  virtual Event SnapshotEvent(const TableDef& table, const Row& row, uint64_t ordinal) = 0;
  virtual Event MarkLast(const Event& event) = 0;
  virtual Event SchemaEvent(const SchemaChange& change, uint64_t ordinal) = 0;
  virtual Event CommitBegins() = 0;
  virtual Event CommitEnds(uint64_t ordinal, uint64_t rows, std::span<const TableCount> tables) = 0;
};

std::unique_ptr<EventEncoder> MakeEncoder(const EncoderOptions& options);

// "app.orders": the database and the table as one topic name. Bytes outside of [A-Za-z0-9_-] become _xHH; where a name
// itself has "_x" and two hex digits, its underscore does.
std::string TopicOf(std::string_view database, std::string_view table);

// Names as JSON and Protobuf can hold them: what is not UTF-8 becomes U+FFFD.
std::string NameText(std::string_view name);

// The columns that tell a row from all others, in the order of the key; empty: there are none.
std::vector<int> KeyColumns(const TableDef& table);
// Whether the declared type says that plain values are blobs.
bool IsBlobColumn(const ColumnDef& column);
// Whether a text is valid in its encoding.
bool IsValidText(Bytes text, sqlite::TextEncoding encoding);
// The longest valid prefix of at most `bytes_max` bytes.
Bytes CutText(Bytes text, sqlite::TextEncoding encoding, uint64_t bytes_max);

inline constexpr std::string_view kTransactionTopic = "transaction";
inline constexpr std::string_view kSchemaTopic = "schema";
inline constexpr std::string_view kConnector = "runnel";
inline constexpr std::string_view kUnavailableValue = "__debezium_unavailable_value";

}  // namespace runnel::feed
