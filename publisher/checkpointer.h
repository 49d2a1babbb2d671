// Runs our PASSIVE checkpoints, and the reads that let SQLite recover a torn wal-index header, on a connection and a
// thread of its own: both may wait for the disk, and a connection whose raw locks are in use may run no SQL.
//
// RULE: a checkpoint is started only while the capture holds a pin on slots 1..4 and keeps one until it is done. Then
// no reset can race with our copying, which keeps us out of SQLite's WAL-reset bug (3.7.0 to 3.51.2).
#pragma once

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
  // `done` is called on the worker's thread after each job.
  Checkpointer(std::unique_ptr<sqlite::LiveDb> db, std::function<void()> done);
  ~Checkpointer();  // waits for the running job

  bool busy() const;
  // REQUIRES: !busy() and no outcome to take. `target`: frames the pin allows to copy.
  void StartCheckpoint(uint32_t target);
  void StartRecovery();
  // The outcome of the checkpoint that has ended, once.
  std::optional<CheckpointOutcome> Take();
  // Waits for the running job. False: still running at the deadline.
  bool WaitIdle(Clock::time_point deadline);

  uint64_t checkpoints() const;
  uint64_t recoveries() const;
  std::string last_error() const;  // of the last failed checkpoint, "" after one that worked

 private:
  enum class Job { kNone, kCheckpoint, kRecovery };
  void Run(std::stop_token stop);
  void Start(Job job);
  CheckpointOutcome Checkpoint(uint32_t target);

  std::unique_ptr<sqlite::LiveDb> db_;
  const std::function<void()> done_;

  mutable Mutex mutex_;
  CondVar changed_;
  Job job_ GUARDED_BY(mutex_) = Job::kNone;
  uint32_t target_ GUARDED_BY(mutex_) = 0;
  std::optional<CheckpointOutcome> outcome_ GUARDED_BY(mutex_);
  uint64_t checkpoints_ GUARDED_BY(mutex_) = 0;
  uint64_t recoveries_ GUARDED_BY(mutex_) = 0;
  std::string last_error_ GUARDED_BY(mutex_);

  std::jthread thread_;  // last: everything above outlives it
};

}  // namespace runnel::publisher
