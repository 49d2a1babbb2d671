// Runs our PASSIVE checkpoints, and the reads that let SQLite recover a torn wal-index header, on a connection and a
// thread of its own: both may wait for the disk, and a connection whose raw locks are in use may run no SQL.
//
// RULE: a checkpoint is started only while the capture holds a pin on slots 1..4 and keeps one until it is done. Then
// no reset can race with our copying, which keeps us out of SQLite's WAL-reset bug (3.7.0 to 3.51.2).
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <thread>

#include "ltx/base/sync.h"
#include "ltx/sqlite/live/live_db.h"
#include "publisher/pin_policy.h"

namespace runnel::publisher {

// THREAD: one caller; it owns the worker.
class Checkpointer {
 public:
  // `done` is called on the worker's thread after each job, and when a job asks for its target.
  // `target_wait`: how long such a job waits, CKPT lock in hand, for a capture that may be busy with a large commit.
  Checkpointer(std::unique_ptr<sqlite::LiveDb> db, std::function<void()> done,
               std::chrono::milliseconds target_wait = std::chrono::milliseconds(5));
  ~Checkpointer();  // waits for the running job

  bool busy() const;
  // REQUIRES of the three: !busy() and no outcome to take. `target`: frames the pin allows to copy.
  void StartCheckpoint(uint32_t target);
  // As above under a mark that moves on only when nobody else can checkpoint: between a mark that has moved and our
  // copying, the application's autocheckpoint would do the copying, with its fsyncs, inside a commit. The caller moves
  // the mark when asks_for_target(), then calls Allow; if it does not in time, the old mark counts.
  void StartCheckpointAtMark();
  void StartRecovery();
  bool asks_for_target() const;
  void Allow(uint32_t target);  // REQUIRES: nothing; too late, it is forgotten
  // The outcome of the checkpoint that has ended, once.
  std::optional<CheckpointOutcome> Take();
  // Waits for the running job. False: still running at the deadline.
  bool WaitIdle(Clock::time_point deadline);

  uint64_t checkpoints() const;
  uint64_t recoveries() const;
  std::string last_error() const;  // of the last failed checkpoint, "" after one that worked

 private:
  enum class Job { kNone, kCheckpoint, kCheckpointAtMark, kRecovery };
  void Run(std::stop_token stop);
  void Start(Job job);
  CheckpointOutcome Checkpoint(Job job, uint32_t target, const std::stop_token& stop);
  uint32_t AskForTarget(const std::stop_token& stop);

  std::unique_ptr<sqlite::LiveDb> db_;
  const std::function<void()> done_;
  const std::chrono::milliseconds target_wait_;

  mutable Mutex mutex_;
  CondVar changed_;
  Job job_ GUARDED_BY(mutex_) = Job::kNone;
  uint32_t target_ GUARDED_BY(mutex_) = 0;
  bool asking_ GUARDED_BY(mutex_) = false;
  std::optional<CheckpointOutcome> outcome_ GUARDED_BY(mutex_);
  uint64_t checkpoints_ GUARDED_BY(mutex_) = 0;
  uint64_t recoveries_ GUARDED_BY(mutex_) = 0;
  std::string last_error_ GUARDED_BY(mutex_);

  std::jthread thread_;  // last: everything above outlives it
};

}  // namespace runnel::publisher
