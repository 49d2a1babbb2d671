// A publisher node: every configured database on a thread of its own, one inotify instance for all. One database's
// trouble never stops another; the node ends when it is stopped or when no database is left running.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "publisher/config.h"
#include "publisher/database.h"
#include "publisher/wake_hub.h"

namespace runnel::publisher {

class Node {
 public:
  // `shared`: what this process has in common with its buses.
  Node(NodeConfig config, std::shared_ptr<bus::Shared> shared);
  ~Node();

  void Start();
  // Waits until `stop` is requested or every database has ended by itself; then stops the rest and drains.
  // Returns the first error that ended a database, Ok otherwise.
  Status Wait(std::stop_token stop);

  std::vector<DatabaseSnapshot> Snapshots() const;
  // Numbers of the buses the logs lie on.
  std::vector<bus::Statistic> BusStatistics() const { return shared_->Statistics(); }

 private:
  void Ended(const Status& status);

  const NodeConfig config_;
  const std::shared_ptr<bus::Shared> shared_;
  WakeHub hub_;
  std::vector<std::unique_ptr<DatabasePublisher>> databases_;
  std::vector<std::jthread> threads_;

  mutable Mutex mutex_;
  CondVar changed_;
  size_t running_ GUARDED_BY(mutex_) = 0;
  Status first_error_ GUARDED_BY(mutex_);
};

}  // namespace runnel::publisher
