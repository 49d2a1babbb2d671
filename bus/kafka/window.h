// The bookkeeping both writers share: how much is on its way, how much is acknowledged, and the error that ends it all.
//
// THREAD: any; Admit from one thread.
#pragma once

#include <deque>
#include <string>

#include "bus/bus.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

class Window {
 public:
  // `tail`: what acked_seq says before the first ack. `topic`: for messages.
  Window(WriterOptions options, StreamSeq tail, std::string topic);

  // Counts one message in, waiting while the window is full. Errors: kCancelled, the writer's error.
  Status Admit(uint64_t payload_bytes, std::stop_token stop) EXCLUDES_LOCK(mutex_);

  // The oldest admitted messages are durable; the last of them is at `seq`. Tell must follow.
  void Ack(uint64_t count, StreamSeq seq) EXCLUDES_LOCK(mutex_);
  // The first error stays. Wakes everybody.
  void Fail(Error error) EXCLUDES_LOCK(mutex_);
  // Wakes those who wait and calls on_progress.
  void Tell();

  uint64_t acked() const EXCLUDES_LOCK(mutex_);
  StreamSeq acked_seq() const EXCLUDES_LOCK(mutex_);
  Status error() const EXCLUDES_LOCK(mutex_);
  Status WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) EXCLUDES_LOCK(mutex_);

 private:
  const WriterOptions options_;
  const std::string topic_;
  mutable Mutex mutex_;
  CondVar changed_;
  std::deque<uint64_t> inflight_ GUARDED_BY(mutex_);  // bytes of each
  uint64_t inflight_bytes_ GUARDED_BY(mutex_) = 0;
  uint64_t acked_ GUARDED_BY(mutex_) = 0;
  StreamSeq acked_seq_ GUARDED_BY(mutex_);
  Status error_ GUARDED_BY(mutex_);
};

}  // namespace runnel::bus::kafka
