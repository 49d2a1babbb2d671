// One source database, published: birth, life and death of the straight pipe WAL -> LTX -> log.
//
//   start    open capture, page table and log; PlanStart decides; lead the log
//   steady   Step the pins, gather commits, build LTX, send; acks release pages into the table and frames to SQLite
//   broken   the bus went away or lost something: read its head, rewind capture to it, lead again (the WAL is the
//   outbox);
//            while it is away capture goes on, and past the WAL limit commits are spilled to the backlog
//   stop     drain what is committed, wait for acks, note the position, let go
//
// Ends only on stop, or on what a human must decide: kRefused (another database, an older copy), kConflict (fenced).
//
// THREAD: Run on one thread of its own; Snapshot and Wake from any.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "ltx/base/fs.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "ltx/base/time.h"
#include "publisher/backlog.h"
#include "publisher/capture.h"
#include "publisher/config.h"
#include "publisher/image_archive.h"
#include "publisher/ltx_builder.h"
#include "publisher/page_ledger.h"
#include "publisher/sender.h"
#include "publisher/start_plan.h"
#include "publisher/wake_hub.h"

namespace runnel::publisher {

enum class DatabaseState {
  kStarting,      // opening, comparing, writing a first snapshot
  kPublishing,    // leading the log
  kDisconnected,  // the bus is away; capturing, holding or spilling
  kStopped,
};
std::string_view ToString(DatabaseState state);

// For status, metrics and logs.
struct DatabaseSnapshot {
  std::string path;
  std::string name;
  std::string bus;  // without credentials
  DatabaseState state = DatabaseState::kStarting;
  std::string trouble;  // last error while not publishing
  std::string lineage;
  uint64_t epoch = 0;
  Position captured;
  Position published;
  uint64_t commits = 0;   // captured since start
  uint64_t messages = 0;  // sent since start
  uint64_t ltx_bytes = 0;
  uint64_t snapshots = 0;
  uint64_t references = 0;  // to images in the archive, written into the log
  uint64_t deltas = 0;
  uint64_t ranges = 0;  // LTX files that carry more than one commit
  uint64_t leaderships = 0;
  uint64_t inflight_messages = 0;
  uint64_t backlog_bytes = 0;
  uint64_t journals = 0;  // times we began to copy what is in flight to the backlog
  CaptureStats capture;
};

class DatabasePublisher {
 public:
  DatabasePublisher(DatabaseConfig config, std::string node, WakeHub& hub);
  ~DatabasePublisher();

  // Publishes until `stop`, then drains until `drain_deadline` after it. Errors: kRefused, kConflict, kInvalid,
  // kNotFound; all others are retried inside.
  Status Run(std::stop_token stop, std::chrono::milliseconds drain_time);

  DatabaseSnapshot Snapshot() const;

 private:
  // start (database_start.cpp)
  Status Open(std::stop_token stop);
  Status LockState();
  Status LoadTable();
  Result<LogHead> ReadHead();
  Status Start(std::stop_token stop);
  Status StartWith(const StartPlan& plan, const LogHead& head, std::stop_token stop);
  Status Adopt(const LogHead& head, std::stop_token stop);
  Status ContinueFrom(const LogHead& head, std::stop_token stop);
  Result<std::optional<WalPosition>> WalPositionOf(const LogHead& head);
  Status CompareImage(const LogHead& head, std::stop_token stop);
  // the page table (database_table.cpp)
  Status RollForward(const LogHead& head, std::stop_token stop);
  Result<bool> EnsureTable(const LogHead& head, std::stop_token stop);
  Result<std::optional<bus::StreamSeq>> ReadArchivedTable(ltx::PageTable& table, uint32_t& change_counter,
                                                          const LogHead& head, std::stop_token stop);
  std::string DraftTablePath() const;
  Status UseDraftTable(std::unique_ptr<ltx::PageTable> table);

  Status PublishSnapshot(const LogHead& head, const bus::Lineage& lineage, Txid txid, std::stop_token stop);
  Status Lead(const LogHead& head, std::stop_token stop);
  Status SendImage(const ImagePin& image, LtxSpec spec, std::stop_token stop);

  // care of the log (database_log_care.cpp)
  Status CareForLog();
  Result<bool> SnapshotNow(const std::string& why);
  Result<bool> CareForTrimmedLog(const bus::LogInfo& info, const std::optional<ArchivedImage>& archived);
  Result<bool> ReferToArchive(const bus::LogInfo& info, const ArchivedImage& archived);

  // what is in flight is kept twice (database_journal.cpp)
  bool FinishNear() const;
  bool WalWaitsForBus() const;
  bool JournalCovers() const;
  void StepJournal();
  void StartJournal();
  void EndJournal();
  Txid ReleasedTxid() const;

  // trouble (database_recover.cpp)
  Status Recover(std::stop_token stop);
  Status Spill();
  Status StartSpilling(uint64_t wal_bytes);
  void FinishSpilling();
  SenderOptions BacklogSenderOptions() const;
  Result<bool> SendBacklog(const LogHead& head, std::stop_token stop);
  Status DrainBacklog(const LogHead& head, const LogHead& end, std::stop_token stop);

  // steady (database.cpp)
  Status Turn(std::stop_token stop);
  Status Gather(Sender& sender);
  Result<std::optional<CommitFrames>> NextCommit();
  Status PublishCommits(Sender& sender, CommitFrames frames, uint64_t commit_count);
  Status PublishLtx(Sender& sender, const LtxSpec& spec, const CommitFrames& frames, bus::Origin origin,
                    const PageReader& read_page, std::stop_token stop);
  bool DrainFor(std::chrono::steady_clock::time_point deadline);
  void Release(Txid txid);
  void Drain(std::chrono::steady_clock::time_point deadline);
  void Report(DatabaseState state, const Status& trouble);
  void UpdateSnapshot();

  // Constant after construction.
  const DatabaseConfig config_;
  const std::string node_;
  WakeHub& hub_;
  const std::string state_dir_;

  // Of the Run thread.
  std::optional<FileLock> lock_;  // of the state directory
  std::unique_ptr<bus::Log> log_;
  std::unique_ptr<Capture> capture_;
  std::unique_ptr<PageLedger> ledger_;
  std::unique_ptr<LtxBuilder> builder_;
  ltx::StringSink ltx_;              // of the commit at hand; its memory is used again
  std::unique_ptr<Sender> sender_;   // to the log
  std::unique_ptr<Sender> spiller_;  // to the backlog, while the bus is away
  std::unique_ptr<Backlog> backlog_;
  std::unique_ptr<Sender> journal_;                   // to the backlog, so that the WAL can be let go
  Txid journal_first_;                                // it holds everything from here on
  Txid journal_last_;                                 // up to here, once copying has ended; 0: it has not
  std::chrono::steady_clock::time_point journal_at_;  // not before
  std::chrono::steady_clock::time_point journal_needed_at_;
  bus::Lineage lineage_;
  bus::Epoch epoch_;
  Txid taken_txid_;             // newest that was given out, as far as is known; the log may have lost it
  uint64_t missing_known_ = 0;  // messages missing in the log when its last snapshot was written
  bus::StreamSeq trim_checked_;
  bus::StreamSeq image_seq_;  // a snapshot or reference lies there or behind it; 0: none is known
  Position referred_;         // the image that our newest reference names
  Position unreached_;        // an end of the archive from which the log did not lead on
  std::chrono::steady_clock::time_point archive_awaited_;  // since when; 0: it is not waited for
  std::chrono::steady_clock::time_point cared_at_;
  bool wal_broken_ = false;  // the WAL no longer continues our position: compare images before going on
  std::string spill_trouble_;
  std::chrono::steady_clock::time_point spill_at_;  // not before
  uint64_t inode_ = 0;
  uint32_t change_counter_ = 0;
  DatabaseSnapshot stats_;
  std::chrono::steady_clock::time_point caught_up_at_;
  std::chrono::steady_clock::time_point sent_at_;
  std::chrono::steady_clock::time_point retry_at_;
  Backoff backoff_{std::chrono::milliseconds(50), std::chrono::milliseconds(5000)};
  std::chrono::steady_clock::time_point reported_at_;

  mutable Mutex mutex_;
  DatabaseSnapshot snapshot_ GUARDED_BY(mutex_);
};

}  // namespace runnel::publisher
