// Over a bus whose round trip is longer than the pause between commits something is always in flight, and a WAL that
// holds the only copy of it can never be reset. So from a mark on everything that is sent is also written to the
// backlog. Once all that was sent before has been acknowledged, the backlog holds whatever the log may lack: what is
// written there counts as released microseconds after its commit, and SQLite may start the WAL over between two
// commits. Then the copying ends, and the backlog goes as soon as the log has acknowledged all of it. Beside a hot
// writer that is so once a WAL, shortly before the writer's own checkpoint.
//
//   I1  Released is what the log has acknowledged, or what the journal has written while it continues that without a
//       hole (journal_first_).
//   I2  The journal is cleared only when the log has acknowledged all of it, or when nothing was released on its word.
// A process killed at any instruction leaves a backlog that its next life sends like one it spilled (SendBacklog).
#include <algorithm>
#include <chrono>
#include <memory>
#include <string>
#include <utility>

#include "ltx/base/log.h"
#include "ltx/sqlite/wal_format.h"
#include "publisher/database.h"

namespace runnel::publisher {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Copied at most before it is cleared and begun again: it is there for what is in flight, not to keep a history.
constexpr uint64_t kJournalBytesMax = 64 << 20;
constexpr uint32_t kWalShort = 200;  // frames
// A hot writer's checkpoint is prepared for from then on: what was sent before is acknowledged by then, unless so many
// messages are on their way that the bus takes longer.
constexpr milliseconds kFinishLead{10};
constexpr uint64_t kPromptInflightMax = 2;  // messages, one about every 4 ms
constexpr milliseconds kJournalRetry{1000};
constexpr milliseconds kJournalQuiet{1000};
constexpr milliseconds kJournalUnneeded{200};  // a writer's pause is no reason to begin anew
constexpr milliseconds kJournalFlush{5000};

}  // namespace

bool DatabasePublisher::FinishNear() const {
  const bool prompt = sender_->inflight_messages() <= kPromptInflightMax;
  return capture_->finish_awaited(prompt ? kFinishLead : std::chrono::nanoseconds::max());
}

bool DatabasePublisher::WalWaitsForBus() const {
  const uint64_t frame_bytes = sqlite::kFrameHeaderBytes + capture_->page_size().raw();
  return JournalHelps({.wal_frames = capture_->wal_frames(),
                       .backfill_frames = capture_->backfill_frames(),
                       .checkpoint_frames = config_.capture.checkpoint_frames,
                       .limit_frames = config_.capture.wal_limit_bytes / frame_bytes,
                       .hot = capture_->hot(),
                       .finish_awaited = FinishNear()});
}

// Once a turn, while leading.
void DatabasePublisher::StepJournal() {
  const steady_clock::time_point now = steady_clock::now();
  if (journal_ == nullptr) {
    if (ledger_->inflight_commits() == 0 || now < journal_at_ || !WalWaitsForBus() || !backlog_->empty()) return;
    StartJournal();
    return;
  }
  // When all is quiet the next commit can start the WAL over without our help.
  const bool quiet = ledger_->inflight_commits() == 0 && now - sent_at_ >= kJournalQuiet;
  const bool needed = WalWaitsForBus();
  if (needed) journal_needed_at_ = now;
  // While the WAL is short: begun again, so that it is there when the WAL can be let go, or over for this round.
  const bool over = !needed && capture_->finish_awaited(std::chrono::nanoseconds::max());
  const bool early = capture_->wal_frames() < kWalShort && (over || stats_.backlog_bytes >= kJournalBytesMax / 4);
  const bool unneeded = now - journal_needed_at_ >= kJournalUnneeded;
  const bool done = quiet || unneeded || early || stats_.backlog_bytes >= kJournalBytesMax;
  if (sender_->copying() && done) sender_->CopyTo(nullptr);
  if (sender_->copying()) return;
  if (journal_last_ == Txid()) {
    journal_last_ = ledger_->position().txid;
    if (!journal_->error().ok()) {
      Log(Level::kWarn, "journal_failed", {{"db", config_.name}, {"err", journal_->error().error().message()}});
      journal_at_ = now + kJournalRetry;
    }
  }
  if (sender_->acked() < journal_last_) return;
  Release(sender_->acked());
  journal_.reset();
  Status cleared = backlog_->Clear();
  if (!cleared.ok())
    Log(Level::kWarn, "journal_not_cleared", {{"db", config_.name}, {"err", cleared.error().message()}});
}

void DatabasePublisher::StartJournal() {
  auto start = [this]() -> Status {
    TRY(sender_->Flush(std::stop_token()));
    TRY_ASSIGN(bus::Log * log, backlog_->Writable(Backlog::Sync::kNone));
    journal_ = std::make_unique<Sender>(*log, BacklogSenderOptions());
    return journal_->Lead(LogHead(), lineage_, epoch_, ledger_->position(), std::stop_token());
  };
  Status started = start();
  if (started.ok()) {
    journal_first_ = ledger_->position().txid.Next();
    journal_last_ = Txid();
    journal_needed_at_ = steady_clock::now();
    sender_->CopyTo(journal_.get());
    ++stats_.journals;
    return;
  }
  // The WAL grows on, as it would without a journal; its limit and the forced finish are still there.
  Log(Level::kWarn, "journal_failed", {{"db", config_.name}, {"err", started.error().message()}});
  journal_at_ = steady_clock::now() + kJournalRetry;
  journal_.reset();
  if (Status cleared = backlog_->Clear(); !cleared.ok()) {
    Log(Level::kWarn, "journal_not_cleared", {{"db", config_.name}, {"err", cleared.error().message()}});
  }
}

bool DatabasePublisher::JournalCovers() const {
  return journal_ != nullptr && std::max(sender_->acked(), ledger_->table().position().txid).Next() >= journal_first_;
}

// Newest TXID that is safe without the WAL.
Txid DatabasePublisher::ReleasedTxid() const {
  return JournalCovers() ? std::max(sender_->acked(), journal_->acked()) : sender_->acked();
}

// The leadership is over, or the process ends. What was released on the journal's word stays in it for SendBacklog;
// otherwise the WAL still holds everything.
void DatabasePublisher::EndJournal() {
  if (journal_ == nullptr) return;
  sender_->CopyTo(nullptr);
  // What cannot be written any more is not acked and so not released.
  [[maybe_unused]] Status flushed = journal_->WaitAllAcked(steady_clock::now() + kJournalFlush);
  const bool covers = JournalCovers();
  Release(ReleasedTxid());
  const bool needed = covers && sender_->acked() < ledger_->table().position().txid;
  journal_.reset();
  if (needed) return;
  if (Status cleared = backlog_->Clear(); !cleared.ok()) {
    Log(Level::kWarn, "journal_not_cleared", {{"db", config_.name}, {"err", cleared.error().message()}});
  }
}

}  // namespace runnel::publisher
