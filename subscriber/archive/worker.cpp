#include "subscriber/archive/worker.h"

#include <utility>

#include "ltx/base/check.h"
#include "ltx/base/time.h"

namespace runnel::archive {

void Worker::Start(Manifest manifest, Job job) {
  CHECK(idle(), "one job at a time");
  job_ = std::move(job);
  uint64_t total = 0;
  for (const ArchivedObject& input : job_->inputs) total += input.bytes;
  bytes_ = 0;
  total_ = total;
  thread_ = std::jthread([this, manifest = std::move(manifest), running = *job_](std::stop_token stop) {
    OnBytes count = [this](uint64_t bytes) { bytes_ += bytes; };
    result_.Set(RunJob(store_, layout_, manifest, running, count, std::move(stop)));
  });
}

std::optional<Worker::Done> Worker::Take() {
  if (idle()) return std::nullopt;
  std::optional<Result<ArchivedObject>> result = result_.Get();
  if (!result) return std::nullopt;
  if (thread_.joinable()) thread_.join();
  result_.Set(std::nullopt);
  total_ = 0;
  return Done{*std::exchange(job_, std::nullopt), std::move(*result)};
}

void Worker::Stop() {
  if (idle() || !thread_.joinable()) return;
  thread_.request_stop();
  thread_.join();
}

void Worker::Cancel() {
  Stop();
  result_.Set(std::nullopt);
  job_.reset();
  total_ = 0;
}

}  // namespace runnel::archive
