#include "bus/kafka/transaction_pool.h"

#include <pthread.h>

#include <algorithm>

#include "ltx/base/check.h"
#include "ltx/base/time.h"

namespace runnel::bus::kafka {

TransactionPool::~TransactionPool() {
  std::vector<std::jthread> threads;  // end outside the lock
  const MutexLock lock(mutex_);
  CHECK(members_.empty(), "the pool outlives its members");
  threads = std::move(threads_);
  for (std::jthread& thread : threads) thread.request_stop();
}

Result<std::unique_ptr<TransactionPool::Seat>> TransactionPool::TakeSeat(std::stop_token stop) {
  while (true) {
    Member* rests = nullptr;
    {
      const MutexLock lock(mutex_);
      while (seats_ >= kProducersMax && (rests = PickToRestLocked()) == nullptr) {
        if (!changed_.WaitUntil(mutex_, stop, NoDeadline())) return Error(Errc::kCancelled, "wait for a producer");
      }
      if (rests == nullptr) {
        ++seats_;
        return std::make_unique<Seat>(*this);
      }
    }
    rests->Rest();
    const MutexLock lock(mutex_);
    Entry& entry = members_[rests];
    entry.may_hold = false;
    PutBackLocked(*rests, std::exchange(entry.again, false));
    AddThreadLocked();
  }
}

void TransactionPool::FreeSeat() {
  {
    const MutexLock lock(mutex_);
    --seats_;
  }
  changed_.NotifyAll();
}

TransactionPool::Member* TransactionPool::PickToRestLocked() {
  Member* picked = nullptr;
  const auto behind = [](const Entry& entry) { return std::pair(entry.state == State::kReady, entry.used_at); };
  for (const auto& [member, entry] : members_) {
    if (!entry.may_hold || entry.state == State::kInHand) continue;
    if (picked == nullptr || behind(entry) < behind(members_[picked])) picked = member;
  }
  if (picked == nullptr) return nullptr;
  Entry& entry = members_[picked];
  if (entry.state == State::kReady) {
    std::erase(ready_, picked);
    entry.again = true;
  }
  entry.state = State::kInHand;
  return picked;
}

void TransactionPool::PutBackLocked(Member& member, bool ready) {
  Entry& entry = members_[&member];
  entry.state = ready ? State::kReady : State::kIdle;
  if (ready) {
    ready_.push_back(&member);
    ready_changed_.NotifyOne();
  }
  changed_.NotifyAll();
}

void TransactionPool::Add(Member& member) {
  const MutexLock lock(mutex_);
  members_[&member].used_at = ++turns_;
}

void TransactionPool::Remove(Member& member) {
  const MutexLock lock(mutex_);
  Entry& entry = members_[&member];
  if (entry.state == State::kReady) {
    std::erase(ready_, &member);
    entry.state = State::kIdle;
  }
  while (entry.state != State::kIdle) {
    entry.again = false;
    (void)changed_.WaitUntil(mutex_, {}, NoDeadline());
    if (entry.state != State::kReady) continue;
    std::erase(ready_, &member);
    entry.state = State::kIdle;
  }
  members_.erase(&member);
}

void TransactionPool::Schedule(Member& member) {
  const MutexLock lock(mutex_);
  Entry& entry = members_[&member];
  if (entry.state == State::kInHand) entry.again = true;
  if (entry.state != State::kIdle) return;
  PutBackLocked(member, true);
  AddThreadLocked();
}

void TransactionPool::AddThreadLocked() {
  if (ready_.size() <= waiting_threads_ || threads_.size() >= kThreadsMax) return;
  threads_.emplace_back([this](std::stop_token stop) { TurnLoop(stop); });
  pthread_setname_np(threads_.back().native_handle(), "kafka-commits");
}

void TransactionPool::TurnLoop(std::stop_token stop) {
  while (true) {
    Member* member = nullptr;
    {
      const MutexLock lock(mutex_);
      while (ready_.empty()) {
        ++waiting_threads_;
        const bool woken = ready_changed_.WaitUntil(mutex_, stop, NoDeadline());
        --waiting_threads_;
        if (!woken) return;
      }
      member = ready_.front();
      ready_.pop_front();
      Entry& entry = members_[member];
      entry.state = State::kInHand;
      entry.again = false;
      entry.used_at = ++turns_;
    }
    const bool more = member->Turn();
    const MutexLock lock(mutex_);
    Entry& entry = members_[member];
    entry.may_hold = true;
    PutBackLocked(*member, std::exchange(entry.again, false) || more);
  }
}

}  // namespace runnel::bus::kafka
