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
  TRY_ASSIGN(LogHead head, ReadHead());
  if (!head.empty && (head.lineage != lineage_ || head.epoch > epoch_)) {
    // The answer to our last takeover may be what was lost.
    TRY_ASSIGN(const bool ours, sender_->TookOverUnheard(head));
    if (!ours) {
      return Error(Errc::kConflict, config_.path + ": another publisher leads the log now (epoch " +
                                        std::to_string(head.epoch.raw()) + ", ours was " +
                                        std::to_string(epoch_.raw()) + ")");
    }
  }
  if (head.empty || head.position.txid == Txid()) {
    Log(Level::kWarn, "log_is_gone", {{"db", config_.name}, {"had", ToString(ledger_->position())}});
    // The snapshot before this one may have been seen by replicas although it was never acknowledged here.
    const Txid taken = std::max(ledger_->position().txid, taken_txid_);
    return PublishSnapshot(head, lineage_, SkipLostTxids(taken), stop);
  }
  TRY_ASSIGN(bool sent, SendBacklog(head, stop));
  if (sent) {
    TRY_ASSIGN(head, ReadHead());
  }
  const Position released = ledger_->table().position();
  if (head.position.txid < released.txid) {
    Log(Level::kWarn, "log_lost_its_end",
        {{"db", config_.name}, {"log_position", ToString(head.position)}, {"acknowledged", ToString(released)}});
    ledger_->Rewind(released.txid);
    return CompareImage(head, stop);
  }
  Release(head.position.txid);
  if (ledger_->position().txid < head.position.txid) {
    // Sent before the trouble and forgotten since: it was stored only after we had read the head and rewound to it, or
    // a spill that found no room began anew behind what is released.
    TRY(RollForward(head, stop));
    return ContinueFrom(head, stop);
  }
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
  if (spiller_ == nullptr) TRY(StartSpilling(wal_bytes));
  Status spilled = Gather(*spiller_);
  if (spilled.ok()) spilled = spiller_->error();
  Release(spiller_->acked());
  if (!spilled.ok()) spiller_.reset();
  return spilled;
}

// Goes on behind what the backlog holds already (of a journal, or of a spill that met trouble), else behind what is
// released.
Status DatabasePublisher::StartSpilling(uint64_t wal_bytes) {
  TRY_ASSIGN(bus::Log * log, backlog_->Writable(Backlog::Sync::kGroup));
  TRY_ASSIGN(LogHead head, ReadLogHead(*log));
  const Position released = ledger_->table().position();
  const Position from = head.position.txid > released.txid ? head.position : released;
  ledger_->Rewind(from.txid);
  if (ledger_->position() != from) {
    return Error(Errc::kIo, "it ends at " + ToString(head.position) + ", which no commit here leads to");
  }
  const InflightCommit* newest = ledger_->newest_inflight();
  capture_->Rewind(newest != nullptr ? newest->wal_end : LoadOwner(ledger_->table()).wal, ledger_->page_count());
  auto spiller = std::make_unique<Sender>(*log, BacklogSenderOptions());
  TRY(spiller->Lead(head, lineage_, epoch_, ledger_->position(), std::stop_token()));
  spiller_ = std::move(spiller);
  Log(Level::kWarn, "spilling_to_backlog", {{"db", config_.name}, {"wal_bytes", wal_bytes}});
  return Ok();
}

SenderOptions DatabasePublisher::BacklogSenderOptions() const {
  SenderOptions options;
  options.database = config_.name;
  options.node = node_;
  options.page_size = capture_->page_size();
  return options;
}

// What could not be sent in time is as good as sent, if it continues the log without a hole; then we lead the log and
// it is acknowledged on return. Otherwise it is of no use: everything is in the log, or the log lost what came before
// it and the image has to be compared. False: nothing was sent. In any case the backlog is gone.
Result<bool> DatabasePublisher::SendBacklog(const LogHead& head, std::stop_token stop) {
  if (backlog_->empty()) return false;
  FinishSpilling();
  Result<LogHead> end = backlog_->Head();
  Result<std::optional<Txid>> first = backlog_->FirstTxid();
  // The disk, not what is on it.
  if (!end.ok() && end.code() == Errc::kIo) return end.error();
  if (!first.ok() && first.code() == Errc::kIo) return first.error();
  bool continues = end.ok() && first.ok() && *first && **first <= head.position.txid.Next() &&
                   end->lineage == head.lineage && end->position.txid > head.position.txid;
  Status drained = Ok();
  if (continues) {
    TRY(Lead(head, stop));
    drained = DrainBacklog(head, *end, std::move(stop));
    bool damaged = !drained.ok() && (drained.code() == Errc::kCorrupt || drained.code() == Errc::kGap);
    if (!drained.ok() && !damaged) return drained.error();
  }
  if (!end.ok()) drained = end.error();
  if (!first.ok()) drained = first.error();
  if (!drained.ok()) {
    Log(Level::kWarn, "backlog_damaged", {{"db", config_.name}, {"err", drained.error().message()}});
  }
  TRY(backlog_->Clear());
  return continues;
}

// What the spiller has taken is in the backlog, or it is not released.
void DatabasePublisher::FinishSpilling() {
  if (spiller_ == nullptr) return;
  while (spiller_->error().ok() && spiller_->inflight_messages() > 0) {
    Release(spiller_->acked());
    capture_->Wait(steady_clock::now() + kDrainPoll);
  }
  Release(spiller_->acked());
  spiller_.reset();
}

// Sends the backlog's messages, which end at `end`, to the log we lead, from behind `head`; on return they are
// acknowledged. Errors: kCorrupt, kGap (the backlog is damaged); those of the sender.
Status DatabasePublisher::DrainBacklog(const LogHead& head, const LogHead& end, std::stop_token stop) {
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
  return Ok();
}

}  // namespace runnel::publisher
