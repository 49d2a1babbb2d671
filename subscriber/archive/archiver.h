// Archives one log in one object store: birth, life, trouble and death.
//
//   open      the store, the log, the lease; the manifest is read, or begun; nameless objects are swept
//   locate    where in the log the archive's position is; behind a hole, the next snapshot
//   follow    read, admit, gather; put and name when enough has gathered or its time has come; beside it the worker
//             makes levels, snapshots and joined segments; what is superseded or old is condemned, later deleted; the
//             log is trimmed behind the archive
//   trouble   everything that was not named is forgotten, the manifest is read again, the log is read again from there:
//             there is no state of its own
//
// Run ends only on stop or on what a human must decide (kRefused, kInvalid, kUnsupported).
//
// THREAD: Run, or Once, on one thread; Snapshot and Abort from any.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/chunk_reader.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "ltx/base/time.h"
#include "subscriber/archive/catalog.h"
#include "subscriber/archive/config.h"
#include "subscriber/archive/intake.h"
#include "subscriber/archive/lease.h"
#include "subscriber/archive/worker.h"

namespace runnel::archive {

enum class ArchiverState { kConnecting, kWaiting, kFollowing, kStalled, kStopped };
std::string_view ToString(ArchiverState state);

// For status, metrics and logs.
struct ArchiverSnapshot {
  std::string name;
  std::string bus;      // without credentials
  std::string archive;  // without credentials
  ArchiverState state = ArchiverState::kConnecting;
  std::string trouble;
  std::string job_trouble;  // why the last merge failed
  std::string lineage;
  Position archived;
  Position head;  // newest position seen in the log
  bus::CaptureTime archived_captured_at;
  Position snapshot;  // newest one
  bus::CaptureTime snapshot_captured_at;
  uint64_t revision = 0;
  uint64_t objects = 0;  // named, condemned ones too
  uint64_t object_bytes = 0;
  uint64_t pending_files = 0;
  uint64_t commits = 0;    // archived since start
  uint64_t log_bytes = 0;  // LTX bytes archived since start
  uint64_t puts = 0;       // objects made since start
  uint64_t put_bytes = 0;  // of merges
  uint64_t deletes = 0;
  uint64_t jobs = 0;
  uint64_t job_errors = 0;
  uint64_t errors = 0;
  uint64_t holes = 0;  // places where commits were in no log any more
  uint64_t swept = 0;
  uint64_t job_bytes = 0;  // of the merge that runs
  uint64_t job_bytes_total = 0;

  uint64_t LagCommits() const { return head.txid > archived.txid ? head.txid.raw() - archived.txid.raw() : 0; }
};

class Archiver {
 public:
  explicit Archiver(ArchiveConfig config);
  ~Archiver();

  Status Run(std::stop_token stop);

  struct OnceOptions {
    bool snapshot = false;  // make one at the end
    bool steal_lease = false;
    std::function<void(const Worker::Progress&)> on_job;
  };
  // Archives what the log holds now, does what is due, and ends. Errors: also those Run would try again.
  Status Once(OnceOptions options, std::stop_token stop);

  // Ends calls of the store that are under way, for a stop that takes too long.
  void Abort() { abort_.request_stop(); }

  const std::string& name() const { return config_.name; }
  ArchiverSnapshot Snapshot() const;

 private:
  // archiver_session.cpp
  Status Open(bool steal_lease);
  void ShowArchive(const Layout& layout);
  Status OpenManifest();
  Status BeginManifest();
  Status Locate(std::stop_token stop);
  Status ReadFrom(bus::StartAt start);
  Status ReadFromSnapshot(const std::string& why, std::stop_token stop);
  void Forget();

  // archiver_follow.cpp
  Status Handle(bus::Message message, std::stop_token stop);
  Status HandleCommits(const bus::Header& header, bus::Commits commits, bus::StreamSeq seq);
  Status HandleFile(bus::Entry entry, const bus::Header& header, bus::StreamSeq seq);
  Status HandleChunk(bus::Envelope envelope, bus::StreamSeq seq, std::stop_token stop);
  Status HandlePosition(const bus::Header& header);
  Result<bool> IsOurs(const bus::Header& header);
  Status NotAdmitted(const ltx::Header& header, bool fork) const;
  Status Flush();
  IntakeEnd EndAt(bus::StreamSeq seq) const;
  void Took(const Position& position, uint64_t files, uint64_t bytes, uint64_t objects);
  Position Expected() const;

  // archiver.cpp
  Status Turn(std::stop_token stop);
  Status Care();
  void StartJob();
  Status TakeJob();
  Status Delete(const std::vector<ObjectName>& names);
  Status Trim();
  Status Judge(const Status& status, Backoff& backoff, std::stop_token stop);
  Status CatchUp(std::stop_token stop);
  Status RunJobs(const OnceOptions& options, std::stop_token stop);
  void Report(ArchiverState state, const Status& trouble);
  void ShowManifest(const Manifest& manifest);
  void UpdateSnapshot();

  const ArchiveConfig config_;
  std::stop_source abort_;

  // Of the Run thread.
  std::unique_ptr<store::ObjectStore> store_;
  std::unique_ptr<bus::Log> log_;
  std::unique_ptr<Lease> lease_;
  std::unique_ptr<Catalog> catalog_;
  std::unique_ptr<Worker> worker_;
  std::unique_ptr<bus::LogReader> reader_;
  std::optional<bus::Message> interruption_;  // taken from the reader already, to be handled next
  std::string incarnation_;                   // of the log that is read
  bus::Epoch epoch_;
  uint32_t locate_tries_ = 0;        // without progress: each looks further for a way on
  bool behind_hole_ = false;         // only a snapshot goes on
  bus::StreamSeq seen_seq_;          // every message up to here is handled
  bus::StreamSeq reference_seq_;     // the log's newest reference to this archive, as far as was read; 0: none was
  std::vector<IntakeFile> pending_;  // admitted, not put; TXIDs without gaps
  Position pending_end_;
  bus::CaptureTime pending_captured_at_;
  bus::StreamSeq pending_seq_;  // messages up to here are in pending_
  bus::Epoch pending_epoch_;
  uint64_t pending_bytes_ = 0;
  SteadyTime pending_since_;
  SteadyTime cared_at_;
  SteadyTime trim_at_;
  SteadyTime job_retry_at_;
  Backoff job_backoff_{std::chrono::milliseconds(1000), std::chrono::milliseconds(60000)};
  ArchiverSnapshot stats_;

  mutable Mutex mutex_;
  ArchiverSnapshot snapshot_ GUARDED_BY(mutex_);
};

}  // namespace runnel::archive
