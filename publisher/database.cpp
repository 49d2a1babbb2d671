#include "publisher/database.h"

#include <algorithm>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/log.h"
#include "ltx/base/time.h"
#include "ltx/sqlite/db_header.h"
#include "publisher/table_owner.h"

namespace runnel::publisher {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// An LTX of more raw page bytes than this goes out in chunks.
constexpr uint64_t kSingleMessageBytesMax = 512 << 10;
// While coalescing, how much one range may hold.
constexpr uint64_t kRangeBytesMax = 4 << 20;
constexpr uint64_t kRangeCommitsMax = 1000;
// Commits gathered before the pins are looked after again.
constexpr int kCommitsPerTurnMax = 512;
constexpr milliseconds kWaitMax{500};
constexpr milliseconds kSnapshotInterval{20};
constexpr milliseconds kSpillRetry{1000};

bus::CaptureTime Now() { return std::chrono::floor<std::chrono::microseconds>(std::chrono::system_clock::now()); }

// Trouble that passes by itself or by somebody's repair: worth trying again.
bool IsPassing(Errc code) {
  switch (code) {
    case Errc::kUnavailable:
    case Errc::kTimeout:
    case Errc::kExhausted:
    case Errc::kIo:
    case Errc::kGap: return true;
    case Errc::kCorrupt:
    case Errc::kConflict:
    case Errc::kRefused:
    case Errc::kNotFound:
    case Errc::kInvalid:
    case Errc::kUnsupported:
    case Errc::kCancelled: return false;
  }
  return false;
}

}  // namespace

std::string_view ToString(DatabaseState state) {
  switch (state) {
    case DatabaseState::kStarting: return "starting";
    case DatabaseState::kPublishing: return "publishing";
    case DatabaseState::kDisconnected: return "disconnected";
    case DatabaseState::kStopped: return "stopped";
  }
  return "unknown";
}

DatabasePublisher::DatabasePublisher(DatabaseConfig config, std::string node, WakeHub& hub)
    : config_(std::move(config)), node_(std::move(node)), hub_(hub), state_dir_(config_.path + "-runnel") {
  stats_.path = config_.path;
  stats_.name = config_.name;
  stats_.bus = bus::RedactUrl(config_.bus_url);
  UpdateSnapshot();
}

DatabasePublisher::~DatabasePublisher() = default;

Status DatabasePublisher::Run(std::stop_token stop, milliseconds drain_time) {
  bool opened = false;
  bool started = false;
  while (!stop.stop_requested()) {
    Status status = Ok();
    if (!opened) {
      status = Open(stop);
      opened = status.ok();
    }
    if (opened && !started && status.ok()) {
      status = Start(stop);
      started = status.ok();
      if (started) Report(DatabaseState::kPublishing, Ok());
    }
    if (started && status.ok()) status = Turn(stop);
    if (status.ok()) continue;
    if (status.code() == Errc::kCancelled) {
      // Stopped in the middle of a snapshot or delta: it is not in the log, and nothing behind it may be.
      if (sender_ != nullptr) sender_->Abandon();
      break;
    }
    bool awaited = config_.await_database && capture_ == nullptr &&
                   (status.code() == Errc::kNotFound || status.code() == Errc::kRefused);
    if (awaited) backoff_.Reset();  // its first commits are seconds away
    // The log vanished between two looks at it: the next attempt makes it again.
    bool vanished = opened && status.code() == Errc::kNotFound;
    if (!IsPassing(status.code()) && !awaited && !vanished) {
      Report(DatabaseState::kStopped, status);
      return status;
    }
    Report(started ? DatabaseState::kDisconnected : DatabaseState::kStarting, status);
    if (started) {
      EndJournal();
      sender_->Abandon();
      retry_at_ = steady_clock::now() + backoff_.Next();
    } else {
      if (!SleepUntil(steady_clock::now() + backoff_.Next(), stop).ok()) break;
      if (opened && ledger_ != nullptr && ledger_->position().txid == Txid()) ledger_.reset();
    }
  }
  if (started) Drain(steady_clock::now() + drain_time);
  Report(DatabaseState::kStopped, Ok());
  return Ok();
}

// One turn of the steady state: everything here is bounded, so that the pins never wait long. A stop is looked at
// between turns only: a commit is sent whole or not at all.
Status DatabasePublisher::Turn(std::stop_token stop) {
  TRY(capture_->Step());
  if (sender_->leading()) {
    Status sent = sender_->error();
    if (sent.ok()) StepJournal();
    if (sent.ok()) sent = Gather(*sender_);
    // A broken chain of messages can be a rival's takeover or a stray message of somebody else: Recover asks the log
    // which.
    if (!sent.ok() && sent.code() == Errc::kConflict) return sent.error().As(Errc::kUnavailable);
    TRY(std::move(sent));
    Release(ReleasedTxid());
    if (steady_clock::now() - sent_at_ >= config_.heartbeat_interval && sender_->HasRoom()) {
      TRY(sender_->SendHeartbeat(ledger_->position(), std::stop_token()));
      sent_at_ = steady_clock::now();
    }
    TRY(CareForLog());
  } else if (steady_clock::now() >= retry_at_) {
    Status recovered = Recover(stop);
    if (!recovered.ok()) {
      return spill_trouble_.empty()
                 ? recovered.error()
                 : Error(recovered.code(), recovered.error().message() + "; meanwhile " + spill_trouble_);
    }
    backoff_.Reset();
    spill_trouble_.clear();
    Report(DatabaseState::kPublishing, Ok());
  } else if (steady_clock::now() >= spill_at_) {
    // Its trouble is its own: the bus may be back before the backlog has room.
    Status spilled = Spill();
    spill_trouble_ = spilled.ok() ? std::string() : "the backlog cannot be written: " + spilled.error().message();
    if (!spilled.ok()) spill_at_ = steady_clock::now() + kSpillRetry;
  }
  if (steady_clock::now() - reported_at_ >= kSnapshotInterval) UpdateSnapshot();
  steady_clock::time_point latest = steady_clock::now() + kWaitMax;
  if (!sender_->leading()) latest = std::min(latest, retry_at_);
  capture_->Wait(latest);
  return Ok();
}

Result<std::optional<CommitFrames>> DatabasePublisher::NextCommit() {
  Result<std::optional<CommitFrames>> commit = capture_->Next();
  if (!commit.ok() && (commit.code() == Errc::kGap || commit.code() == Errc::kCorrupt)) {
    wal_broken_ = true;
    return commit.error().As(Errc::kGap);
  }
  return commit;
}

Status DatabasePublisher::Gather(Sender& sender) {
  uint64_t page_bytes = capture_->page_size().raw();
  for (int i = 0; i < kCommitsPerTurnMax && sender.HasRoom(); ++i) {
    TRY_ASSIGN(std::optional<CommitFrames> commit, NextCommit());
    if (!commit) {
      caught_up_at_ = steady_clock::now();
      break;
    }
    uint64_t commit_count = 1;
    bool late = config_.coalesce_after && steady_clock::now() - caught_up_at_ > *config_.coalesce_after;
    while (late && commit->pages.size() * page_bytes < kRangeBytesMax && commit_count < kRangeCommitsMax) {
      TRY_ASSIGN(std::optional<CommitFrames> more, NextCommit());
      if (!more) break;
      if (!sqlite::SameSalt(more->end.salt, commit->end.salt)) {
        // Another WAL generation: its frame numbers mean other pages.
        TRY(PublishCommits(sender, std::move(*commit), commit_count));
        commit = std::move(more);
        commit_count = 1;
        continue;
      }
      Merge(*commit, std::move(*more));
      ++commit_count;
    }
    TRY(PublishCommits(sender, std::move(*commit), commit_count));
  }
  return sender.Flush(std::stop_token());
}

Status DatabasePublisher::PublishCommits(Sender& sender, CommitFrames frames, uint64_t commit_count) {
  if (config_.durable) TRY(capture_->SyncWal());
  LtxSpec spec;
  spec.min_txid = ledger_->position().txid.Next();
  spec.max_txid = Txid(ledger_->position().txid.raw() + commit_count);
  spec.pre_apply_checksum = ledger_->position().checksum;
  spec.captured_at = Now();
  stats_.commits += commit_count;
  if (commit_count > 1) ++stats_.ranges;
  auto read = [this](const PageSource& source) -> Result<Bytes> {
    TRY_ASSIGN(Bytes page, capture_->Page(source));
    if (source.pgno == Pgno(1)) change_counter_ = sqlite::ChangeCounterOf(page);
    return page;
  };
  bus::Origin origin = commit_count > 1 ? bus::Origin::kRange : bus::Origin::kCommit;
  return PublishLtx(sender, spec, frames, origin, read, std::stop_token());
}

Status DatabasePublisher::PublishLtx(Sender& sender, const LtxSpec& spec, const CommitFrames& frames,
                                     bus::Origin origin, const PageReader& read_page, std::stop_token stop) {
  bus::Entry entry;
  entry.min_txid = spec.min_txid;
  entry.max_txid = spec.max_txid;
  entry.origin = origin;
  entry.captured_at = spec.captured_at;
  entry.wal_checksum = uint64_t{frames.end.checksum[0]} << 32 | frames.end.checksum[1];
  sent_at_ = steady_clock::now();
  if (frames.pages.size() * uint64_t{capture_->page_size().raw()} <= kSingleMessageBytesMax) {
    ltx_.clear();
    TRY_ASSIGN(BuiltLtx built, builder_->Build(spec, frames, *ledger_, read_page, ltx_));
    entry.ltx = ltx_.text();
    stats_.ltx_bytes += built.ltx_bytes;
    Position after = built.commit.position;
    if (after.txid > ledger_->position().txid) TRY(ledger_->Push(std::move(built.commit)));
    return sender.SendLtx(std::move(entry), after, stop);
  }
  TRY_ASSIGN(ltx::ByteSink * chunks, sender.BeginChunks(std::move(entry), stop));
  TRY_ASSIGN(BuiltLtx built, builder_->Build(spec, frames, *ledger_, read_page, *chunks));
  stats_.ltx_bytes += built.ltx_bytes;
  Position after = built.commit.position;
  if (after.txid > ledger_->position().txid) TRY(ledger_->Push(std::move(built.commit)));
  return sender.FinishChunks(after, built.file_checksum);
}

// Asked by capture while it finishes a checkpoint by force: everything read, sent and acknowledged, or not in time.
bool DatabasePublisher::DrainFor(steady_clock::time_point deadline) {
  if (!sender_->leading() || !sender_->error().ok()) return false;
  // A backlog is being sent, and what comes now belongs behind it.
  if (!backlog_->empty() && journal_ == nullptr) return false;
  while (true) {
    if (!Gather(*sender_).ok()) return false;
    Release(ReleasedTxid());
    if (ledger_->inflight_commits() == 0) return true;
    Sender& nearer = sender_->copying() && JournalCovers() ? *journal_ : *sender_;
    if (!nearer.WaitAllAcked(deadline).ok()) return false;
  }
}

// The log has it: the page table takes it over, and SQLite may have the frames back.
void DatabasePublisher::Release(Txid txid) {
  const InflightCommit* released = ledger_->Release(txid);
  if (released == nullptr) return;
  StoreOwner(ledger_->table(),
             {lineage_, epoch_.raw(), released->position.txid.raw(), released->wal_end, inode_, change_counter_});
  capture_->Released(released->wal_end);
}

// On stop: everything committed so far, within the time given.
void DatabasePublisher::Drain(steady_clock::time_point deadline) {
  sender_->CopyTo(nullptr);
  while (steady_clock::now() < deadline) {
    if (!sender_->leading() || !sender_->error().ok()) break;
    if (!capture_->Step().ok() || !Gather(*sender_).ok()) break;
    Release(sender_->acked());
    if (journal_ != nullptr) StepJournal();
    if (ledger_->inflight_commits() == 0 && journal_ == nullptr) break;
    capture_->Wait(std::min(deadline, steady_clock::now() + milliseconds(20)));
  }
  EndJournal();
  Status synced = ledger_->table().Sync();
  Log(Level::kInfo, "publisher_drained",
      {{"db", config_.name},
       {"published", ToString(ledger_->table().position())},
       {"unpublished_commits", uint64_t{ledger_->inflight_commits()}},
       {"page_table", synced.ok() ? "synced" : synced.error().message()}});
  sender_->Abandon();
}

void DatabasePublisher::Report(DatabaseState state, const Status& trouble) {
  std::string text = trouble.ok() ? std::string() : trouble.error().message();
  if (stats_.state != state || stats_.trouble != text) {
    Level level = state == DatabaseState::kStopped && !trouble.ok() ? Level::kError
                  : trouble.ok()                                    ? Level::kInfo
                                                                    : Level::kWarn;
    Log(level, "publisher_" + std::string(ToString(state)), {{"db", config_.name}, {"bus", stats_.bus}, {"err", text}});
  }
  stats_.state = state;
  stats_.trouble = text;
  UpdateSnapshot();
}

void DatabasePublisher::UpdateSnapshot() {
  reported_at_ = steady_clock::now();
  stats_.epoch = epoch_.raw();
  stats_.lineage = ToString(lineage_);
  if (ledger_ != nullptr) {
    stats_.captured = ledger_->position();
    // The backlog counts as released, but it is not the log.
    const Position& acked = sender_ != nullptr ? sender_->acked_position() : ledger_->table().position();
    if (backlog_->empty()) stats_.published = ledger_->table().position();
    if (!backlog_->empty() && acked.txid > stats_.published.txid) stats_.published = acked;
  }
  if (sender_ != nullptr) stats_.inflight_messages = sender_->inflight_messages();
  if (backlog_ != nullptr) stats_.backlog_bytes = backlog_->bytes();
  if (capture_ != nullptr) stats_.capture = capture_->stats();
  MutexLock lock(mutex_);
  snapshot_ = stats_;
}

DatabaseSnapshot DatabasePublisher::Snapshot() const {
  MutexLock lock(mutex_);
  return snapshot_;
}

}  // namespace runnel::publisher
