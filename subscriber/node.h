// A subscriber node: every configured replica on a thread of its own. One replica's trouble never stops another; the
// node ends when it is stopped or when no replica is left running.
#pragma once

#include <memory>
#include <stop_token>
#include <string>
#include <thread>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "subscriber/config.h"
#include "subscriber/follower.h"

namespace runnel::subscriber {

class Node {
 public:
  explicit Node(NodeConfig config);
  ~Node();

  void Start();
  // Waits until `stop` is requested or every replica has ended by itself; then stops the rest.
  // Returns the first error that ended a replica, Ok otherwise.
  Status Wait(std::stop_token stop);

  std::vector<FollowerSnapshot> Snapshots() const;
  // Numbers of the buses the logs lie on.
  std::vector<bus::Statistic> BusStatistics() const { return shared_->Statistics(); }
  // For others in this process who speak to the same buses.
  const std::shared_ptr<bus::Shared>& shared() const { return shared_; }
  // nullptr: no replica of that name.
  Follower* Find(std::string_view name);

 private:
  void Ended(const Status& status);

  const NodeConfig config_;
  const std::shared_ptr<bus::Shared> shared_ = std::make_shared<bus::Shared>();
  std::vector<std::unique_ptr<Follower>> followers_;
  std::vector<std::jthread> threads_;

  mutable Mutex mutex_;
  CondVar changed_;
  size_t running_ GUARDED_BY(mutex_) = 0;
  Status first_error_ GUARDED_BY(mutex_);
};

}  // namespace runnel::subscriber
