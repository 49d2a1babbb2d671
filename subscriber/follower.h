// One replica, kept current from one log: birth, life, waiting and death.
//
//   connect     open the log; attach the replica, or learn that there is none
//   bootstrap   no replica: write the newest snapshot of the archive or of the log straight into a new image
//   follow      read, admit, apply; several waiting messages become one visible commit, a current replica sees each
//   commit resync      a gap: read again from our position; a fork, a foreign write, a new lineage: heal to the log's
//   head in one commit stalled     the log cannot help yet: says why, keeps serving readers the last exact image, looks
//   again
//
// Ends only on stop or on what a human must decide (kRefused, kInvalid).
//
// THREAD: Run on one thread of its own; Snapshot and WaitFor from any.
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
#include "bus/find.h"
#include "ltx/base/latency.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "subscriber/admit.h"
#include "subscriber/applier.h"
#include "subscriber/archive_source.h"
#include "subscriber/config.h"
#include "subscriber/heal.h"
#include "subscriber/replica/image.h"
#include "subscriber/replica/replica.h"

namespace runnel::subscriber {

enum class FollowerState { kConnecting, kBootstrapping, kFollowing, kResyncing, kStalled, kStopped };
std::string_view ToString(FollowerState state);

// For status, metrics and logs.
struct FollowerSnapshot {
  std::string name;
  std::string path;
  std::string bus;  // without credentials
  FollowerState state = FollowerState::kConnecting;
  std::string trouble;
  std::string lineage;
  uint64_t epoch = 0;
  Position applied;                      // what the replica shows
  Position head;                         // newest position seen in the log
  bus::CaptureTime applied_captured_at;  // when the publisher captured what the replica shows
  bus::CaptureTime head_seen_at;         // when the log last said anything, heartbeats too
  uint64_t commits = 0;                  // source commits applied since start
  uint64_t visible_commits = 0;          // replica commits they became
  uint64_t duplicates = 0;
  uint64_t damaged_messages = 0;  // skipped: no envelope could be read from them
  uint64_t gaps = 0;
  uint64_t forks = 0;
  uint64_t resyncs = 0;
  uint64_t snapshots = 0;  // applied
  uint64_t ltx_bytes = 0;
  uint64_t repaired_pages = 0;
  LatencyHistogram latency;  // capture to visible
  replica::ReplicaStats replica;

  uint64_t LagCommits() const { return head.txid > applied.txid ? head.txid.raw() - applied.txid.raw() : 0; }
  // How old what readers see is, at most: 0 when everything the log is known to hold has been applied.
  std::chrono::microseconds Lag(bus::CaptureTime now) const;
};

class Follower {
 public:
  explicit Follower(ReplicaConfig config);
  ~Follower();

  Status Run(std::stop_token stop);

  const std::string& name() const { return config_.name; }
  FollowerSnapshot Snapshot() const;
  // Waits until the replica shows at least `txid`. False at the deadline.
  bool WaitFor(Txid txid, std::chrono::steady_clock::time_point deadline, std::stop_token stop);

 private:
  // connect and resync (follower_resync.cpp)
  Status Connect(std::stop_token stop);
  Status AttachReplica();
  Status OpenReader(std::stop_token stop);
  // archive (follower_archive.cpp)
  Result<std::optional<ArchiveSource>> OpenArchive(std::stop_token stop);
  Result<std::optional<ArchiveSource>> OpenArchiveBy(const std::optional<bus::ReferencePlace>& reference,
                                                     std::stop_token stop);
  Result<bool> BootstrapFromArchive(const bus::ImagePlaces& places, std::stop_token stop);
  void Resync(const std::string& why);
  Status LocateImage(std::stop_token stop);
  Status Heal(std::stop_token stop);
  Status StartOver(const std::string& why);
  Status Bootstrap(ltx::ByteSource& source, const bus::Header& header);
  Status CheckStillThere();

  // follow (follower.cpp)
  Status Turn(std::stop_token stop);
  Status Handle(bus::Message message, std::stop_token stop);
  Status HandleCommits(const bus::Header& header, bus::Commits commits, std::stop_token stop);
  Status HandleChunk(bus::Envelope envelope, bus::StreamSeq seq, std::stop_token stop);
  Status HandlePosition(const bus::Header& header);
  Status CheckLineage(const bus::Header& header);
  Status CheckHeader(const bus::Header& header);
  Status NotNext(Admission admission, const bus::Entry& entry, const ltx::Header& ltx_header);
  Status NeedsHeal(std::string why);
  Status ApplyPending(std::stop_token stop);
  Status ApplyOne(ltx::ByteSource& source, const bus::Entry& entry, const bus::Header& header, bool covers,
                  std::stop_token stop);
  void Applied(const Position& position, uint64_t commit_count, bus::CaptureTime captured_at);
  Status Idle(std::stop_token stop);
  Status ScrubStep(std::stop_token stop);
  Position Expected() const;  // ours, once everything pending is applied
  void Report(FollowerState state, const Status& trouble);
  void UpdateSnapshot();

  const ReplicaConfig config_;

  // Of the Run thread.
  std::unique_ptr<bus::Log> log_;
  std::unique_ptr<bus::LogReader> reader_;
  std::unique_ptr<replica::Replica> replica_;  // nullptr: no replica yet
  std::optional<bus::Message> interruption_;   // taken from the reader already, to be handled next
  std::vector<bus::Entry> pending_;            // admitted, not applied; TXIDs without gaps
  Position pending_end_;                       // where they lead
  uint64_t pending_bytes_ = 0;
  uint32_t pending_messages_ = 0;
  bus::Epoch epoch_;
  bus::Lineage lineage_;
  bool needs_heal_ = false;    // following cannot help: fork, foreign write, new lineage, twice the same gap
  bool replace_ours_ = false;  // the file at the replica's path is ours, of another page size
  uint64_t inode_ = 0;         // of the attached replica
  Txid resynced_at_;           // our TXID at the last resync: twice at the same place means the log cannot help
  std::chrono::steady_clock::time_point scrubbed_at_;
  std::chrono::steady_clock::time_point looked_at_;
  std::chrono::steady_clock::time_point reported_at_;
  FollowerSnapshot stats_;

  mutable Mutex mutex_;
  CondVar applied_;
  FollowerSnapshot snapshot_ GUARDED_BY(mutex_);
};

}  // namespace runnel::subscriber
