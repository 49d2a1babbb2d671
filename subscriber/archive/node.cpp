#include "subscriber/archive/node.h"

#include <utility>

#include "ltx/base/time.h"

namespace runnel::archive {

Node::Node(std::vector<ArchiveConfig> configs, const std::shared_ptr<bus::Shared>& shared) {
  for (ArchiveConfig& config : configs) {
    config.bus.shared = shared;
    archivers_.push_back(std::make_unique<Archiver>(std::move(config)));
  }
}

Node::~Node() = default;

void Node::Start() {
  {
    MutexLock lock(mutex_);
    running_ = archivers_.size();
  }
  for (std::unique_ptr<Archiver>& archiver : archivers_) {
    threads_.emplace_back([this, one = archiver.get()](std::stop_token stop) { Ended(one->Run(stop)); });
  }
}

void Node::Ended(const Status& status) {
  MutexLock lock(mutex_);
  --running_;
  if (!status.ok() && first_error_.ok()) first_error_ = status;
  changed_.NotifyAll();
}

Status Node::Wait(std::stop_token stop, std::chrono::milliseconds drain_time) {
  {
    MutexLock lock(mutex_);
    while (running_ > 0 && !stop.stop_requested()) {
      changed_.WaitUntil(mutex_, stop, DeadlineIn(std::chrono::seconds(1)));
    }
  }
  return Stop(drain_time);
}

Status Node::Stop(std::chrono::milliseconds drain_time) {
  for (std::jthread& thread : threads_) thread.request_stop();
  const SteadyTime deadline = DeadlineIn(drain_time);
  {
    MutexLock lock(mutex_);
    while (running_ > 0 && std::chrono::steady_clock::now() < deadline) {
      changed_.WaitUntil(mutex_, std::stop_token(), deadline);
    }
  }
  for (std::unique_ptr<Archiver>& archiver : archivers_) archiver->Abort();
  threads_.clear();
  MutexLock lock(mutex_);
  return first_error_;
}

std::vector<ArchiverSnapshot> Node::Snapshots() const {
  std::vector<ArchiverSnapshot> snapshots;
  for (const std::unique_ptr<Archiver>& archiver : archivers_) snapshots.push_back(archiver->Snapshot());
  return snapshots;
}

}  // namespace runnel::archive
