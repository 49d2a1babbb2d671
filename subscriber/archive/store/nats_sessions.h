// Connections of one store: borrowed for a call, kept for the next one while they are whole. THREAD: any.
#pragma once

#include <atomic>
#include <memory>
#include <vector>

#include "bus/nats/session.h"
#include "ltx/base/sync.h"
#include "subscriber/archive/store/nats_bucket.h"
#include "subscriber/archive/store/nats_store.h"

namespace runnel::store {

class NatsSessions {
 public:
  explicit NatsSessions(NatsStoreOptions options)
      : options_(std::move(options)), bucket_{options_.bucket, options_.replicas} {}

  const NatsStoreOptions& options() const { return options_; }
  const NatsBucket& bucket() const { return bucket_; }

  // Errors: kUnavailable, kInvalid (credentials), kCancelled (a stop was asked for).
  Result<std::unique_ptr<bus::nats::Session>> Borrow();
  // The same also after a stop, for a last request that removes what an abandoned put has left.
  Result<std::unique_ptr<bus::nats::Session>> BorrowForCleanup();
  // REQUIRES: the call it was borrowed for went well. A session that had trouble is not given back.
  void Return(std::unique_ptr<bus::nats::Session> session);

  // Runs `call` with a session, again with a fresh one while it is kUnavailable and `retry` has attempts left.
  template <typename Call>
  auto Run(Retry& retry, const Call& call) -> decltype(call(std::declval<bus::nats::Session&>())) {
    while (true) {
      Result<std::unique_ptr<bus::nats::Session>> session = Borrow();
      auto result = session.ok() ? call(**session) : decltype(call(**session))(session.error());
      const bool broken = !result.ok() && (result.code() == Errc::kUnavailable || result.code() == Errc::kCancelled);
      if (!broken && session.ok()) Return(*std::move(session));
      if (result.ok() || result.code() != Errc::kUnavailable) return result;
      const Status wait = retry.Wait(result.error());
      if (!wait.ok()) return wait.error();
    }
  }

 private:
  const NatsStoreOptions options_;
  const NatsBucket bucket_;
  std::atomic<size_t> next_server_{0};
  Mutex mutex_;
  std::vector<std::unique_ptr<bus::nats::Session>> idle_ GUARDED_BY(mutex_);
};

}  // namespace runnel::store
