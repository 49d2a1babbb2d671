#include "subscriber/feed/feeder.h"

#include <algorithm>
#include <utility>

#include "ltx/base/check.h"

namespace runnel::feed {

using std::chrono::floor;
using std::chrono::milliseconds;

Feeder::Feeder(FeedImage& image, Sink& sink, FeederOptions options)
    : image_(image),
      sink_(sink),
      options_(std::move(options)),
      encoder_(MakeEncoder(options_.encoder)),
      state_(image.state()) {
  stats_.position = image.position();
  stats_.delivered = state_.delivered;
}

Feeder::~Feeder() = default;

Status Feeder::Bootstrap(const FeedEntry& entry, const FeedState& then) {
  ltx::Decoder decoder(entry.file);
  TRY_ASSIGN(ltx::Header header, decoder.Begin());
  if (!header.IsSnapshot()) return Error(Errc::kCorrupt, "not a snapshot: it starts at " + ToString(header.min_txid));
  TRY(image_.StartImage(header.page_size, header.commit));
  while (true) {
    TRY_ASSIGN(std::optional<ltx::Page> page, decoder.Next());
    if (!page) break;
    TRY(image_.AddImagePage(page->pgno, page->data));
  }
  TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
  return Adopt({entry.lineage, {header.max_txid, trailer.post_apply_checksum}, entry.captured_at}, then);
}

Status Feeder::Adopt(const ImageOrigin& origin, const FeedState& then) {
  FeedState state = then;
  state.lineage = origin.lineage;
  state.position = origin.position;
  state.tables = options_.tables_fingerprint;
  captured_ms_ = floor<milliseconds>(origin.captured_at).time_since_epoch().count();
  TRY(image_.FinishImage(state));
  state_ = image_.state();
  stats_.position = image_.position();
  stats_.captured_ms = captured_ms_;
  return Ok();
}

Status Feeder::OpenFeed() {
  if (feed_ != nullptr) return Ok();
  Result<std::unique_ptr<Feed>> opened = Feed::Open(image_, options_.tables);
  if (!opened.ok()) return opened.error().With("txid " + runnel::ToString(image_.position().txid));
  feed_ = std::move(*opened);
  return Ok();
}

Status Feeder::Start(std::stop_token stop) {
  state_ = image_.state();
  if (state_.delivered && state_.tables != options_.tables_fingerprint &&
      state_.delivered->txid > state_.position.txid) {
    return Error(Errc::kRefused, "the tables to report changed while commit " + ToString(state_.delivered->txid) +
                                     " was half delivered: start with the old ones once, or with --from");
  }
  state_.tables = options_.tables_fingerprint;
  TRY_ASSIGN(skip_, sink_.LastToken(stop));
  if (skip_ && skip_->lineage != state_.lineage) {
    return Error(Errc::kRefused, sink_.name() + " holds events of lineage " + ToString(skip_->lineage) +
                                     ", the log is " + ToString(state_.lineage) + ": give it another prefix");
  }
  if (skip_ && state_.delivered && *skip_ < *state_.delivered) {
    return Error(Errc::kRefused, sink_.name() + " ends at " + ToString(*skip_) + " but had " +
                                     ToString(*state_.delivered) + ": it has lost events; start with --from " +
                                     ToString(*skip_));
  }
  if (!skip_) skip_ = state_.delivered;
  if (state_.phase == Phase::kSnapshot) return TellSnapshot(std::move(stop));
  // On the way to where events begin nobody asks what is in the image.
  return state_.phase == Phase::kStream ? OpenFeed() : Ok();
}

CommitContext Feeder::ContextOf(Txid txid, bool snapshot) const {
  CommitContext context;
  context.lineage = state_.lineage;
  context.txid = txid;
  context.snapshot = snapshot;
  context.captured_ms = captured_ms_;
  context.processed_ms = options_.now_ms();
  return context;
}

Status Feeder::Deliver(const Event& event, std::stop_token stop) {
  if (skip_) {
    if (event.token <= *skip_) {
      ++stats_.skipped_events;
      return Ok();
    }
    skip_.reset();
  }
  TRY(sink_.Write(event, stop));
  written_ = event.token;
  ++stats_.events;
  return sink_.waiting_bytes() >= options_.sink_bytes_max ? FlushInside(std::move(stop)) : Ok();
}

// In the middle of a commit or a snapshot: the image stays, what was delivered is noted.
Status Feeder::FlushInside(std::stop_token stop) {
  TRY(sink_.Flush(std::move(stop)));
  state_.delivered = written_;
  stats_.delivered = written_;
  image_.Note(state_);
  return Ok();
}

Status Feeder::Settle(std::stop_token stop) {
  TRY(sink_.Flush(std::move(stop)));
  if (written_) state_.delivered = written_;
  stats_.delivered = state_.delivered;
  return image_.Persist(state_);
}

Status Feeder::Take(const FeedEntry& entry, std::stop_token stop) {
  ++stats_.ltx_files;
  captured_ms_ = floor<milliseconds>(entry.captured_at).time_since_epoch().count();
  TRY(CheckDelivered(entry));
  Status staged = Stage(entry);
  Status told = staged;
  if (staged.ok() && state_.phase == Phase::kStream) told = TellCommit(entry, stop);
  if (!told.ok()) {
    image_.AbortCommit();
    return told;
  }
  image_.AcceptCommit();
  stats_.position = image_.position();
  stats_.captured_ms = captured_ms_;
  ++stats_.commits;
  if (state_.phase == Phase::kCatchUp && image_.position().txid >= state_.target) {
    state_.phase = state_.snapshot_follows ? Phase::kSnapshot : Phase::kStream;
    state_.snapshot_follows = false;
    TRY(Settle(stop));
    if (state_.phase == Phase::kSnapshot) return TellSnapshot(stop);
  }
  return image_.waiting_bytes() >= options_.waiting_bytes_max ? Settle(std::move(stop)) : Ok();
}

// A commit of which the sink has a part must come again with the same borders, else its events have other names.
Status Feeder::CheckDelivered(const FeedEntry& entry) const {
  if (!skip_ || skip_->snapshot || state_.phase != Phase::kStream) return Ok();
  if (skip_->txid < entry.min_txid || skip_->txid >= entry.max_txid) return Ok();
  return Error(Errc::kRefused, "events up to " + ToString(*skip_) + " are delivered, but the log now has commits " +
                                   ToString(entry.min_txid) + " to " + ToString(entry.max_txid) +
                                   " as one: start with --from");
}

Status Feeder::Stage(const FeedEntry& entry) {
  ltx::Decoder decoder(entry.file);
  TRY_ASSIGN(ltx::Header header, decoder.Begin());
  if (header.page_size != image_.state().page_size) {
    return Error(Errc::kRefused, "TXID " + ToString(header.max_txid) + " has another page size than the image");
  }
  TRY(image_.BeginCommit(header.commit));
  while (true) {
    TRY_ASSIGN(Pgno pgno, decoder.NextNumber());
    if (pgno == Pgno()) break;
    if (feed_ != nullptr) feed_->Expect(pgno);
    TRY_ASSIGN(MutableBytes place, image_.StagePage(pgno));
    TRY(decoder.ReadInto(place));
    TRY(image_.FinishPage());
  }
  TRY_ASSIGN(ltx::Trailer trailer, decoder.Finish());
  return image_.ProveCommit({header.max_txid, trailer.post_apply_checksum});
}

Status Feeder::TellCommit(const FeedEntry& entry, std::stop_token stop) {
  TRY(OpenFeed());
  const std::vector<Pgno>* pages = &image_.staged_pages();
  if (!entry.all_pages) {
    every_page_.clear();
    for (uint32_t n = 1; n <= image_.staged().page_count(); ++n) every_page_.push_back(Pgno(n));
    pages = &every_page_;
  }
  TRY_ASSIGN(std::unique_ptr<Transaction> transaction,
             feed_->Begin({entry.max_txid, image_, image_.staged(), *pages, image_.staged_differences()}));
  encoder_->Begin(ContextOf(entry.max_txid, false));
  begun_ = false;
  counts_.clear();
  rows_ = 0;
  last_ordinal_ = 0;
  // Roots may have moved without any change to tell; the definitions are other ones all the same.
  if (transaction->schema().tables.data() != tables_seen_) encoder_->ForgetTables();
  tables_seen_ = transaction->schema().tables.data();
  TRY(TellChanges(*transaction, stop));
  if (begun_) {
    table_counts_.clear();
    for (const Count& count : counts_) table_counts_.push_back({count.table->name, count.events});
    TRY(Deliver(encoder_->CommitEnds(last_ordinal_ + 1, rows_, table_counts_), std::move(stop)));
  }
  transaction->Finish();
  return Ok();
}

Status Feeder::TellChanges(Transaction& transaction, std::stop_token stop) {
  Change change;
  while (true) {
    TRY_ASSIGN(bool more, transaction.Next(change));
    if (!more) return Ok();
    if (change.schema != nullptr && !Reports(*change.schema, transaction.schema())) continue;
    if (!begun_) {
      begun_ = true;
      TRY(Deliver(encoder_->CommitBegins(), stop));
    }
    last_ordinal_ = change.ordinal;
    if (change.schema != nullptr) {
      TRY(Deliver(encoder_->SchemaEvent(*change.schema, change.ordinal), stop));
    } else {
      TRY(TellRow(change, stop));
    }
  }
}

// Tables that are not asked for, and what belongs to them.
bool Feeder::Reports(const SchemaChange& change, const Schema& schema) const {
  const TableDef* table = change.after != nullptr ? change.after : change.before;
  if (change.object != nullptr) table = schema.FindByName(change.object->table);
  return table == nullptr || options_.tables.wants(*table);
}

Status Feeder::TellRow(const Change& change, std::stop_token stop) {
  const RowChange& row = *change.row;
  if (counts_.empty() || counts_.back().table != row.table) counts_.push_back({row.table, 0});
  ++counts_.back().events;
  ++rows_;
  if (skip_ && Token{state_.lineage, image_.staged_txid(), false, change.ordinal} <= *skip_) {
    ++stats_.skipped_events;
    return Ok();
  }
  ++stats_.rows;
  return Deliver(encoder_->RowEvent(row, {change.ordinal, rows_, counts_.back().events}), std::move(stop));
}

Status Feeder::TellSnapshot(std::stop_token stop) {
  TRY(OpenFeed());
  encoder_->Begin(ContextOf(image_.position().txid, true));
  uint64_t ordinal = 0;
  TRY(TellSchema(ordinal, stop));
  TRY(TellTables(ordinal, stop));
  state_.phase = Phase::kStream;
  return Settle(std::move(stop));
}

Status Feeder::TellSchema(uint64_t& ordinal, std::stop_token stop) {
  for (const TableDef& table : feed_->schema().tables) {
    if (!options_.tables.wants(table)) continue;
    SchemaChange change{SchemaChange::Kind::kCreateTable, nullptr, &table, nullptr, {}};
    TRY(Deliver(encoder_->SchemaEvent(change, ++ordinal), stop));
  }
  return Ok();
}

// Each row is held until the next one is known: the last one is marked.
Status Feeder::TellTables(uint64_t& ordinal, std::stop_token stop) {
  TRY_ASSIGN(sqlite::Image image, sqlite::Image::Of(image_));
  RowDecoder decoder;
  Row row;
  std::optional<Event> held;
  for (const TableDef& table : feed_->schema().tables) {
    if (!options_.tables.wants(table)) continue;
    sqlite::TreeCursor cursor(image, table.root);
    while (true) {
      Result<bool> more = cursor.Next();
      if (!more.ok()) return more.error().With("table " + table.name);
      if (!*more) break;
      if (held) TRY(Deliver(*held, stop));
      if (stop.stop_requested()) return Error(Errc::kCancelled, "snapshot");
      ++ordinal;
      if (skip_ && Token{state_.lineage, image_.position().txid, true, ordinal} <= *skip_) {
        held.reset();
        continue;
      }
      Status decoded = decoder.Decode(table, image, cursor.at(), row);
      if (!decoded.ok()) return decoded.error().With("table " + table.name);
      held = encoder_->SnapshotEvent(table, row, ordinal);
      ++stats_.rows;
    }
  }
  return held ? Deliver(encoder_->MarkLast(*held), std::move(stop)) : Ok();
}

}  // namespace runnel::feed
