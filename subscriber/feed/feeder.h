// From LTX files to events: the walk of one commit through the feed.
//
//   stage    decode the file's pages, prove the image after it by the LTX's own checksum
//   diff     image before against image after (transaction.h), each change becomes an event (event_encoder.h)
//   deliver  to the sink, in order, what it does not have yet
//   accept   the image moves on in memory; in its file once the sink has flushed (feed_image.h)
//
// I1  Exactly the commits behind the image are told, each whole and once, unless the sink cannot remember (sink.h).
// I2  A page that is not what it must be stops the feed at that commit: the error names table, page and TXID, the image
//     and what was delivered stay what they were.
// THREAD: one.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "subscriber/feed/event_encoder.h"
#include "subscriber/feed/feed_image.h"
#include "subscriber/feed/sink.h"
#include "subscriber/feed/token.h"
#include "subscriber/feed/transaction.h"

namespace runnel::feed {

// One LTX file, wherever it comes from (a log, an archive's segments).
struct FeedEntry {
  LineageId lineage{};
  Txid min_txid;
  Txid max_txid;
  std::chrono::sys_time<std::chrono::microseconds> captured_at;
  // The file holds every page that was written since the image before, byte-equal ones included. False for what was
  // found by comparing images and for snapshots: then everything is compared.
  bool all_pages = true;
  ltx::ByteSource& file;
};

// What an image shows.
struct ImageOrigin {
  LineageId lineage{};
  Position position;
  std::chrono::sys_time<std::chrono::microseconds> captured_at;
};

struct FeederOptions {
  EncoderOptions encoder;
  FeedOptions tables;
  uint64_t tables_fingerprint = 0;  // of what `tables` was made from
  // Commits wait for a flush of the sink until they have this much: bounds memory and what is read again after a crash.
  uint64_t waiting_bytes_max = 8 << 20;
  uint64_t sink_bytes_max = 4 << 20;
  std::function<int64_t()> now_ms;  // wall clock, for the time of processing
};

struct FeederStats {
  uint64_t commits = 0;
  uint64_t events = 0;
  uint64_t rows = 0;            // among the events
  uint64_t skipped_events = 0;  // that the sink had already
  uint64_t ltx_files = 0;
  Position position;               // of the newest commit told, delivered or not
  int64_t captured_ms = 0;         // when the publisher saw it, since 1970; 0: not known
  std::optional<Token> delivered;  // durable in the sink
};

class Feeder {
 public:
  // REQUIRES: the image is not empty, or Bootstrap is called first. LIFETIME: image and sink.
  Feeder(FeedImage& image, Sink& sink, FeederOptions options);
  ~Feeder();

  // Makes the image from a snapshot LTX. `then`: phase, target and what counts as delivered.
  Status Bootstrap(const FeedEntry& entry, const FeedState& then);
  // The same of pages that lie in the image already. REQUIRES: its StartImage, and all pages. Errors: kCorrupt (they do
  // not have the position's checksum).
  Status Adopt(const ImageOrigin& origin, const FeedState& then);

  // Reads schema and trees of the image; tells its rows if that is the phase. REQUIRES: the image is not empty, once.
  Status Start(std::stop_token stop);

  // REQUIRES: Start; entry.min_txid is behind position(), or the file covers everything since. Errors: kCorrupt and
  // kUnsupported (I2), kRefused (what was delivered cannot be found in this file), those of file and sink.
  Status Take(const FeedEntry& entry, std::stop_token stop);

  // Nothing more waits right now: everything becomes durable.
  Status Settle(std::stop_token stop);

  const Position& position() const { return image_.position(); }
  const FeederStats& stats() const { return stats_; }

 private:
  Status Stage(const FeedEntry& entry);
  Status OpenFeed();
  Status TellSnapshot(std::stop_token stop);
  Status TellSchema(uint64_t& ordinal, std::stop_token stop);
  Status TellTables(uint64_t& ordinal, std::stop_token stop);
  Status TellCommit(const FeedEntry& entry, std::stop_token stop);
  Status TellChanges(Transaction& transaction, std::stop_token stop);
  bool Reports(const SchemaChange& change, const Schema& schema) const;
  Status TellRow(const Change& change, std::stop_token stop);
  Status Deliver(const Event& event, std::stop_token stop);
  Status FlushInside(std::stop_token stop);
  Status CheckDelivered(const FeedEntry& entry) const;
  CommitContext ContextOf(Txid txid, bool snapshot) const;

  FeedImage& image_;
  Sink& sink_;
  const FeederOptions options_;
  const std::unique_ptr<EventEncoder> encoder_;
  std::unique_ptr<Feed> feed_;
  FeedState state_;               // as the next Persist will write it
  std::optional<Token> skip_;     // events up to here are in the sink
  std::optional<Token> written_;  // the last event the sink took
  int64_t captured_ms_ = 0;
  FeederStats stats_;

  // Of the commit being told.
  struct Count {
    const TableDef* table;
    uint64_t events;
  };
  std::vector<Count> counts_;
  std::vector<TableCount> table_counts_;
  const TableDef* tables_seen_ = nullptr;  // only to be compared
  uint64_t rows_ = 0;
  uint64_t last_ordinal_ = 0;
  bool begun_ = false;
  std::vector<Pgno> every_page_;
};

}  // namespace runnel::feed
