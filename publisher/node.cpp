#include "publisher/node.h"

#include <chrono>
#include <utility>

namespace runnel::publisher {
namespace {

// Ends and signals wake the wait; this only bounds it.
constexpr std::chrono::minutes kWaitMax{1};

}  // namespace

Node::Node(NodeConfig config, std::shared_ptr<bus::Shared> shared)
    : config_(std::move(config)), shared_(std::move(shared)) {
  for (DatabaseConfig database : config_.databases) {
    database.bus.shared = shared_;
    databases_.push_back(std::make_unique<DatabasePublisher>(database, config_.node_name, hub_));
  }
}

Node::~Node() = default;

void Node::Start() {
  {
    MutexLock lock(mutex_);
    running_ = databases_.size();
  }
  for (std::unique_ptr<DatabasePublisher>& database : databases_) {
    threads_.emplace_back([this, publisher = database.get()](std::stop_token stop) {
      Ended(publisher->Run(stop, config_.shutdown_timeout));
    });
  }
}

void Node::Ended(const Status& status) {
  MutexLock lock(mutex_);
  --running_;
  if (!status.ok() && first_error_.ok()) first_error_ = status;
  changed_.NotifyAll();
}

Status Node::Wait(std::stop_token stop) {
  {
    MutexLock lock(mutex_);
    while (running_ > 0 && !stop.stop_requested()) {
      changed_.WaitUntil(mutex_, stop, std::chrono::steady_clock::now() + kWaitMax);
    }
  }
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
  MutexLock lock(mutex_);
  return first_error_;
}

std::vector<DatabaseSnapshot> Node::Snapshots() const {
  std::vector<DatabaseSnapshot> snapshots;
  for (const std::unique_ptr<DatabasePublisher>& database : databases_) snapshots.push_back(database->Snapshot());
  return snapshots;
}

}  // namespace runnel::publisher
