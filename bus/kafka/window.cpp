#include "bus/kafka/window.h"

#include <fmt/format.h>

#include "ltx/base/check.h"
#include "ltx/base/time.h"

namespace runnel::bus::kafka {

Window::Window(WriterOptions options, StreamSeq tail, std::string topic)
    : options_(std::move(options)), topic_(std::move(topic)), acked_seq_(tail) {}

Status Window::Admit(uint64_t payload_bytes, std::stop_token stop) {
  const MutexLock lock(mutex_);
  while (true) {
    if (!error_.ok()) return error_;
    const bool room = inflight_.empty() || (inflight_.size() < options_.inflight_messages_max &&
                                            inflight_bytes_ + payload_bytes <= options_.inflight_bytes_max);
    if (room) break;
    if (!changed_.WaitUntil(mutex_, stop, NoDeadline())) return Error(Errc::kCancelled, "append to topic " + topic_);
  }
  inflight_.push_back(payload_bytes);
  inflight_bytes_ += payload_bytes;
  return Ok();
}

void Window::Ack(uint64_t count, StreamSeq seq) {
  const MutexLock lock(mutex_);
  CHECK(count <= inflight_.size(), "more acknowledged than appended");
  for (uint64_t i = 0; i < count; ++i) {
    inflight_bytes_ -= inflight_.front();
    inflight_.pop_front();
  }
  acked_ += count;
  acked_seq_ = seq;
}

void Window::Fail(Error error) {
  {
    const MutexLock lock(mutex_);
    if (!error_.ok()) return;
    error_ = std::move(error);
  }
  Tell();
}

void Window::Tell() {
  changed_.NotifyAll();
  if (options_.on_progress) options_.on_progress();
}

uint64_t Window::acked() const {
  const MutexLock lock(mutex_);
  return acked_;
}

StreamSeq Window::acked_seq() const {
  const MutexLock lock(mutex_);
  return acked_seq_;
}

Status Window::error() const {
  const MutexLock lock(mutex_);
  return error_;
}

Status Window::WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) {
  const MutexLock lock(mutex_);
  while (true) {
    if (acked_ >= count) return Ok();
    if (!error_.ok()) return error_;
    if (changed_.WaitUntil(mutex_, stop, deadline)) continue;
    if (acked_ >= count) return Ok();
    if (!error_.ok()) return error_;
    if (stop.stop_requested()) return Error(Errc::kCancelled, "wait for acknowledgements");
    return Error(Errc::kTimeout, fmt::format("topic {}: {} of {} messages acknowledged", topic_, acked_, count));
  }
}

}  // namespace runnel::bus::kafka
