#include "publisher/checkpointer.h"

#include <pthread.h>

#include <chrono>
#include <utility>

#include "ltx/base/check.h"

namespace runnel::publisher {
namespace {

// Jobs and the stop wake the wait; this only bounds it.
constexpr std::chrono::hours kWaitMax{1};

}  // namespace

Checkpointer::Checkpointer(std::unique_ptr<sqlite::LiveDb> db, std::function<void()> done)
    : db_(std::move(db)), done_(std::move(done)), thread_([this](std::stop_token stop) { Run(std::move(stop)); }) {
  pthread_setname_np(thread_.native_handle(), "checkpoint");
}

Checkpointer::~Checkpointer() = default;

bool Checkpointer::busy() const {
  MutexLock lock(mutex_);
  return job_ != Job::kNone;
}

void Checkpointer::StartCheckpoint(uint32_t target) {
  {
    MutexLock lock(mutex_);
    target_ = target;
  }
  Start(Job::kCheckpoint);
}

void Checkpointer::StartRecovery() { Start(Job::kRecovery); }

void Checkpointer::Start(Job job) {
  {
    MutexLock lock(mutex_);
    CHECK(job_ == Job::kNone, "the worker is busy");
    job_ = job;
  }
  changed_.NotifyAll();
}

std::optional<CheckpointOutcome> Checkpointer::Take() {
  MutexLock lock(mutex_);
  return std::exchange(outcome_, std::nullopt);
}

bool Checkpointer::WaitIdle(Clock::time_point deadline) {
  MutexLock lock(mutex_);
  while (job_ != Job::kNone) {
    if (!changed_.WaitUntil(mutex_, std::stop_token(), deadline)) return job_ == Job::kNone;
  }
  return true;
}

uint64_t Checkpointer::checkpoints() const {
  MutexLock lock(mutex_);
  return checkpoints_;
}

uint64_t Checkpointer::recoveries() const {
  MutexLock lock(mutex_);
  return recoveries_;
}

std::string Checkpointer::last_error() const {
  MutexLock lock(mutex_);
  return last_error_;
}

CheckpointOutcome Checkpointer::Checkpoint(uint32_t target) {
  CheckpointOutcome outcome{.target = target};
  Result<sqlite::CheckpointResult> result = db_->CheckpointPassive();
  outcome.failed = !result.ok();
  outcome.busy = result.ok() && result->busy;
  MutexLock lock(mutex_);
  ++checkpoints_;
  last_error_ = outcome.failed ? result.error().message() : "";
  return outcome;
}

void Checkpointer::Run(std::stop_token stop) {
  while (true) {
    Job job;
    uint32_t target;
    {
      MutexLock lock(mutex_);
      while (job_ == Job::kNone && !stop.stop_requested()) {
        changed_.WaitUntil(mutex_, stop, Clock::now() + kWaitMax);
      }
      if (stop.stop_requested()) return;
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
      MutexLock lock(mutex_);
      if (job == Job::kRecovery) ++recoveries_;
      outcome_ = outcome;
      job_ = Job::kNone;
    }
    changed_.NotifyAll();
    done_();
  }
}

}  // namespace runnel::publisher
