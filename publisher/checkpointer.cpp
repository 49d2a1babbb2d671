#include "publisher/checkpointer.h"

#include <pthread.h>

#include <utility>

#include "ltx/base/check.h"

namespace runnel::publisher {

Checkpointer::Checkpointer(std::unique_ptr<sqlite::LiveDb> db, std::function<void()> done)
    : db_(std::move(db)), done_(std::move(done)), thread_([this] { Run(); }) {
  pthread_setname_np(thread_.native_handle(), "checkpoint");
}

Checkpointer::~Checkpointer() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  thread_.join();
}

bool Checkpointer::busy() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return job_ != Job::kNone;
}

void Checkpointer::StartCheckpoint(uint32_t target) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    target_ = target;
  }
  Start(Job::kCheckpoint);
}

void Checkpointer::StartRecovery() { Start(Job::kRecovery); }

void Checkpointer::Start(Job job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    CHECK(job_ == Job::kNone, "the worker is busy");
    job_ = job;
  }
  changed_.notify_all();
}

std::optional<CheckpointOutcome> Checkpointer::Take() {
  std::lock_guard<std::mutex> lock(mutex_);
  return std::exchange(outcome_, std::nullopt);
}

bool Checkpointer::WaitIdle(Clock::time_point deadline) {
  std::unique_lock<std::mutex> lock(mutex_);
  return changed_.wait_until(lock, deadline, [this] { return job_ == Job::kNone; });
}

uint64_t Checkpointer::checkpoints() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return checkpoints_;
}

uint64_t Checkpointer::recoveries() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return recoveries_;
}

std::string Checkpointer::last_error() const {
  std::lock_guard<std::mutex> lock(mutex_);
  return last_error_;
}

CheckpointOutcome Checkpointer::Checkpoint(uint32_t target) {
  CheckpointOutcome outcome{.target = target};
  Result<sqlite::CheckpointResult> result = db_->CheckpointPassive();
  outcome.failed = !result.ok();
  outcome.busy = result.ok() && result->busy;
  std::lock_guard<std::mutex> lock(mutex_);
  ++checkpoints_;
  last_error_ = outcome.failed ? result.error().message() : "";
  return outcome;
}

void Checkpointer::Run() {
  while (true) {
    Job job;
    uint32_t target;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      changed_.wait(lock, [this] { return job_ != Job::kNone || stop_; });
      if (stop_) return;
      job = job_;
      target = target_;
    }
    std::optional<CheckpointOutcome> outcome;
    if (job == Job::kCheckpoint) {
      outcome = Checkpoint(target);
    } else {
      // Any read makes SQLite recover the header; if it is not possible now, the capture asks again.
      [[maybe_unused]] Result<std::string> read = db_->QueryText("PRAGMA schema_version");
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (job == Job::kRecovery) ++recoveries_;
      outcome_ = outcome;
      job_ = Job::kNone;
    }
    changed_.notify_all();
    done_();
  }
}

}  // namespace runnel::publisher
