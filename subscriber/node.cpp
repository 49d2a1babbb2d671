#include "subscriber/node.h"

#include <chrono>
#include <utility>

namespace runnel::subscriber {
namespace {

// Ends and signals wake the wait; this only bounds it.
constexpr std::chrono::minutes kWaitMax{1};

}  // namespace

Node::Node(NodeConfig config) : config_(std::move(config)) {
  for (ReplicaConfig replica : config_.replicas) {
    replica.bus.shared = shared_;
    followers_.push_back(std::make_unique<Follower>(std::move(replica)));
  }
}

Node::~Node() = default;

void Node::Start() {
  {
    MutexLock lock(mutex_);
    running_ = followers_.size();
  }
  for (std::unique_ptr<Follower>& follower : followers_) {
    threads_.emplace_back([this, one = follower.get()](std::stop_token stop) { Ended(one->Run(stop)); });
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

std::vector<FollowerSnapshot> Node::Snapshots() const {
  std::vector<FollowerSnapshot> snapshots;
  for (const std::unique_ptr<Follower>& follower : followers_) snapshots.push_back(follower->Snapshot());
  return snapshots;
}

Follower* Node::Find(std::string_view name) {
  for (std::unique_ptr<Follower>& follower : followers_) {
    if (follower->name() == name) return follower.get();
  }
  return nullptr;
}

}  // namespace runnel::subscriber
