// When the bus was away or lied: what is in the log is asked of the log, and the rest is captured and sent again. While
// it is away, the WAL holds the commits; past its limit they move to the backlog.
#include <algorithm>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <variant>

#include "ltx/base/log.h"
#include "ltx/sqlite/wal_format.h"
#include "publisher/database.h"
#include "publisher/table_owner.h"

namespace runnel::publisher {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kDrainPoll{5};

// Leaves out of a stored message what the log already has. False when nothing is left of it.
bool DropKnown(bus::Envelope& envelope, Txid known) {
  if (auto* commits = std::get_if<bus::Commits>(&envelope.body)) {
    std::erase_if(commits->entries, [&](const bus::Entry& entry) { return entry.max_txid <= known; });
    if (commits->entries.empty()) return false;
    envelope.header.min_txid = commits->entries.front().min_txid;
    return true;
  }
  const auto* chunk = std::get_if<bus::Chunk>(&envelope.body);
  return chunk != nullptr && chunk->entry.max_txid > known;
}

}  // namespace

Status DatabasePublisher::Recover(std::stop_token stop) {
  TRY(log_->Create());  // it may have been deleted while we led it
  TRY_ASSIGN(LogHead head, ReadLogHead(*log_));
  if (!head.empty && (head.lineage != lineage_ || head.epoch > epoch_)) {
    return Error(Errc::kConflict, config_.path + ": another publisher leads the log now (epoch " +
                                      std::to_string(head.epoch.raw()) + ", ours was " + std::to_string(epoch_.raw()) +
                                      ")");
  }
  if (head.empty || head.position.txid == Txid()) {
    Log(Level::kWarn, "log_is_gone", {{"db", config_.name}, {"had", ToString(ledger_->position())}});
    return PublishSnapshot(head, lineage_, SkipLostTxids(ledger_->position().txid), stop);
  }
  if (!backlog_->empty()) {
    TRY(Lead(head, stop));
    TRY(DrainBacklog(head, stop));
    TRY_ASSIGN(head, ReadLogHead(*log_));
  }
  const Position released = ledger_->table().position();
  if (head.position.txid < released.txid) {
    Log(Level::kWarn, "log_lost_its_end",
        {{"db", config_.name}, {"log_position", ToString(head.position)}, {"acknowledged", ToString(released)}});
    ledger_->Rewind(released.txid);
    return CompareImage(head, stop);
  }
  Release(head.position.txid);
  ledger_->Rewind(head.position.txid);
  if (ledger_->position() != head.position || ledger_->inflight_commits() != 0) {
    return Error(Errc::kRefused, config_.path + ": the log is at " + ToString(head.position) +
                                     ", which this database never was (" + ToString(ledger_->position()) + ")");
  }
  TRY_ASSIGN(std::optional<WalPosition> at, WalPositionOf(head));
  if (wal_broken_ || !at) {
    wal_broken_ = false;
    return CompareImage(head, stop);
  }
  capture_->Rewind(*at, ledger_->page_count());
  return Lead(head, stop);
}

// While the bus is away and the WAL has passed its limit: the same messages go to the backlog instead, and count as
// released.
Status DatabasePublisher::Spill() {
  uint64_t wal_bytes = sqlite::FrameOffset(capture_->stats().wal_frames + 1, capture_->page_size().raw());
  if (spiller_ == nullptr && wal_bytes < config_.capture.wal_limit_bytes) return Ok();
  if (backlog_->full()) return Ok();  // the WAL grows from here on; visible as runnel_publisher_backlog_bytes
  if (spiller_ == nullptr) {
    TRY_ASSIGN(bus::Log * log, backlog_->Writable());
    TRY_ASSIGN(LogHead head, ReadLogHead(*log));
    SenderOptions options;
    options.database = config_.name;
    options.node = node_;
    options.page_size = capture_->page_size();
    auto spiller = std::make_unique<Sender>(*log, options);
    ledger_->Rewind(ledger_->table().position().txid);
    TableOwner owner = LoadOwner(ledger_->table());
    capture_->Rewind(owner.wal, ledger_->page_count());
    TRY(spiller->Lead(head, lineage_, epoch_, ledger_->position(), std::stop_token()));
    spiller_ = std::move(spiller);
    Log(Level::kWarn, "spilling_to_backlog", {{"db", config_.name}, {"wal_bytes", wal_bytes}});
  }
  Status spilled = Gather(*spiller_);
  if (spilled.ok()) spilled = spiller_->error();
  Release(spiller_->acked());
  if (!spilled.ok()) spiller_.reset();
  return spilled;
}

// Sends the backlog's messages to the log we lead, from behind `head`; on return they are acknowledged and the backlog
// is gone.
Status DatabasePublisher::DrainBacklog(const LogHead& head, std::stop_token stop) {
  if (spiller_ != nullptr) {
    Status flushed = Ok();
    while (flushed.ok() && spiller_->inflight_messages() > 0) {
      Release(spiller_->acked());
      capture_->Wait(steady_clock::now() + kDrainPoll);
      flushed = spiller_->error();
    }
    Release(spiller_->acked());
    spiller_.reset();
  }
  TRY_ASSIGN(LogHead end, backlog_->Head());
  Log(Level::kInfo, "draining_backlog",
      {{"db", config_.name},
       {"from", ToString(head.position)},
       {"to", ToString(end.position)},
       {"bytes", backlog_->bytes()}});
  Position last = head.position;
  {
    TRY_ASSIGN(std::unique_ptr<bus::LogReader> reader, backlog_->Read());
    while (last.txid < end.position.txid) {
      TRY(capture_->Step());
      TRY(sender_->error());
      if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped");
      if (!sender_->HasRoom()) {
        sender_->acked();
        capture_->Wait(steady_clock::now() + kDrainPoll);
        continue;
      }
      TRY_ASSIGN(bus::Message message, reader->Next(steady_clock::now() + std::chrono::seconds(10), stop));
      TRY_ASSIGN(bus::Envelope envelope, bus::Decode(message.payload));
      if (!DropKnown(envelope, head.position.txid)) continue;
      const auto* chunk = std::get_if<bus::Chunk>(&envelope.body);
      if (chunk == nullptr || chunk->last) last = envelope.header.position;
      TRY(sender_->SendStored(std::move(envelope), stop));
    }
  }
  while (sender_->acked() < end.position.txid && head.position.txid < end.position.txid) {
    TRY(sender_->error());
    if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped");
    TRY(capture_->Step());
    capture_->Wait(steady_clock::now() + kDrainPoll);
  }
  return backlog_->Clear();
}

}  // namespace runnel::publisher
