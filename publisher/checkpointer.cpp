#include "publisher/checkpointer.h"

#include <pthread.h>

#include <chrono>
#include <utility>

#include "ltx/base/check.h"
#include "publisher/yielding.h"

namespace runnel::publisher {
namespace {

// Jobs and the stop wake the wait; this only bounds it.
constexpr std::chrono::hours kWaitMax{1};

}  // namespace

Checkpointer::Checkpointer(std::unique_ptr<sqlite::LiveDb> db, std::function<void()> done,
                           std::chrono::milliseconds target_wait)
    : db_(std::move(db)),
      done_(std::move(done)),
      target_wait_(target_wait),
      thread_([this](std::stop_token stop) { Run(std::move(stop)); }) {
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

void Checkpointer::StartCheckpointAtMark() { Start(Job::kCheckpointAtMark); }

void Checkpointer::StartRecovery() { Start(Job::kRecovery); }

bool Checkpointer::asks_for_target() const {
  MutexLock lock(mutex_);
  return asking_;
}

void Checkpointer::Allow(uint32_t target) {
  {
    MutexLock lock(mutex_);
    if (!asking_) return;
    target_ = target;
    asking_ = false;
  }
  changed_.NotifyAll();
}

// 0: nobody answered.
uint32_t Checkpointer::AskForTarget(const std::stop_token& stop) {
  {
    MutexLock lock(mutex_);
    target_ = 0;
    asking_ = true;
  }
  done_();
  const Clock::time_point deadline = Clock::now() + target_wait_;
  MutexLock lock(mutex_);
  while (asking_ && !stop.stop_requested() && Clock::now() < deadline) changed_.WaitUntil(mutex_, stop, deadline);
  asking_ = false;
  return target_;
}

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

CheckpointOutcome Checkpointer::Checkpoint(Job job, uint32_t target, const std::stop_token& stop) {
  CheckpointOutcome outcome{.target = target};
  std::function<void()> locked;
  if (job == Job::kCheckpointAtMark) locked = [&] { outcome.target = AskForTarget(stop); };
  Result<sqlite::CheckpointResult> result = db_->CheckpointPassive(locked);
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
    if (job != Job::kRecovery) {
      // Beside a hot writer; not when it is held up by a forced finish, which waits for this.
      YieldToOthers(job == Job::kCheckpointAtMark);
      outcome = Checkpoint(job, target, stop);
      YieldToOthers(false);
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
