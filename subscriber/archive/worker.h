// Runs one job at a time beside the archiver's own thread, so that a snapshot of a large database never holds up what
// comes from the log. The archiver names the results in the manifest; the worker never touches it.
//
// THREAD: the archiver's, but for progress().
#pragma once

#include <atomic>
#include <cstdint>
#include <optional>
#include <thread>

#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "subscriber/archive/compact.h"

namespace runnel::archive {

class Worker {
 public:
  Worker(store::ObjectStore& store, Layout layout) : store_(store), layout_(layout) {}
  ~Worker() { Cancel(); }

  struct Done {
    Job job;
    Result<ArchivedObject> made;
  };
  // Nothing runs and no result waits.
  bool idle() const { return !job_.has_value(); }
  // REQUIRES: idle.
  void Start(Manifest manifest, Job job);
  // Take would yield something. REQUIRES: not idle.
  bool finished() const { return result_.Get().has_value(); }
  // The result once there is one.
  std::optional<Done> Take();
  // Ends the job as soon as it can be; its result waits to be taken.
  void Stop();
  // The same, and forgets the result: what it may have put is nameless.
  void Cancel();

  struct Progress {
    uint64_t bytes = 0;
    uint64_t total = 0;  // 0: nothing runs
  };
  // THREAD: any.
  Progress progress() const { return {bytes_.load(), total_.load()}; }

 private:
  store::ObjectStore& store_;
  const Layout layout_;
  std::optional<Job> job_;
  Latest<std::optional<Result<ArchivedObject>>> result_;
  std::atomic<uint64_t> bytes_{0};
  std::atomic<uint64_t> total_{0};
  std::jthread thread_;
};

}  // namespace runnel::archive
