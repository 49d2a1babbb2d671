// Several archivers in one process, each on a thread of its own. One's trouble never stops another.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "bus/shared.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "subscriber/archive/archiver.h"
#include "subscriber/archive/config.h"

namespace runnel::archive {

class Node {
 public:
  // `shared`: what this process has in common with its buses.
  Node(std::vector<ArchiveConfig> configs, const std::shared_ptr<bus::Shared>& shared);
  ~Node();

  void Start();
  // Waits until `stop` is requested or every archiver has ended by itself; then stops the rest: what has been gathered
  // is archived within `drain_time`. Returns the first error that ended an archiver, Ok otherwise.
  Status Wait(std::stop_token stop, std::chrono::milliseconds drain_time);
  // The second half of it, for a node that does other things beside.
  Status Stop(std::chrono::milliseconds drain_time);

  std::vector<ArchiverSnapshot> Snapshots() const;
  bool empty() const { return archivers_.empty(); }

 private:
  void Ended(const Status& status);

  std::vector<std::unique_ptr<Archiver>> archivers_;
  mutable Mutex mutex_;
  CondVar changed_;
  size_t running_ GUARDED_BY(mutex_) = 0;
  Status first_error_ GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;  // last: they use what is above
};

}  // namespace runnel::archive
