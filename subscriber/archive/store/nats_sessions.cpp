#include "subscriber/archive/store/nats_sessions.h"

#include <fmt/format.h>

namespace runnel::store {

using bus::nats::Session;

namespace {

constexpr size_t kIdleMax = 4;

}  // namespace

Result<std::unique_ptr<Session>> NatsSessions::Borrow() {
  if (options_.retry.stop.stop_requested())
    return Error(Errc::kCancelled, fmt::format("bucket {}: stopped", bucket_.name));
  return BorrowForCleanup();
}

Result<std::unique_ptr<Session>> NatsSessions::BorrowForCleanup() {
  {
    MutexLock lock(mutex_);
    while (!idle_.empty()) {
      std::unique_ptr<Session> session = std::move(idle_.back());
      idle_.pop_back();
      if (!session->closed()) return session;
    }
  }
  return Session::Connect(options_.endpoint, next_server_++);
}

void NatsSessions::Return(std::unique_ptr<Session> session) {
  if (session->closed()) return;
  MutexLock lock(mutex_);
  if (idle_.size() < kIdleMax) idle_.push_back(std::move(session));
}

}  // namespace runnel::store
