// What the transactional writers of a process share: a bounded number of producers, and of threads that commit.
//
// Kafka fences a transactional producer by its name, so each log needs one of its own, and each costs librdkafka's
// threads and connections. So logs take turns: a writer that has nothing to commit keeps its producer until another one
// needs the place, then rests without one, and opens a new one when it has something again. Up to kProducersMax logs of
// a process notice nothing of that; beyond, a log that was at rest pays for a new producer (20-40 ms) with its next
// commit.
//
// I1  No more than kProducersMax producers with a seat exist.
// I2  A member is never in two hands at a time: a turn, or its rest.
// THREAD: any. LIFETIME: outlives its members and seats.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <stop_token>
#include <thread>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

class TransactionPool {
 public:
  static constexpr size_t kProducersMax = 16;
  static constexpr size_t kThreadsMax = 8;

  class Member {
   public:
    virtual ~Member() = default;
    // Commits some of what is queued. Called by a thread of the pool. True: there is more.
    virtual bool Turn() = 0;
    // Gives up its producer and its seat, if it has them. Called by any thread.
    virtual void Rest() = 0;
  };

  // The right to have one producer.
  class Seat {
   public:
    explicit Seat(TransactionPool& pool) : pool_(pool) {}
    ~Seat() { pool_.FreeSeat(); }
    Seat(const Seat&) = delete;
    Seat& operator=(const Seat&) = delete;

   private:
    TransactionPool& pool_;
  };

  TransactionPool() = default;
  ~TransactionPool();

  // Waits for a free seat; the member that has been idle for longest rests for it. Errors: kCancelled.
  Result<std::unique_ptr<Seat>> TakeSeat(std::stop_token stop) EXCLUDES_LOCK(mutex_);

  // The member has turns from now on; it may hold a seat. Remove: it has none any more when this returns.
  void Add(Member& member) EXCLUDES_LOCK(mutex_);
  void Remove(Member& member) EXCLUDES_LOCK(mutex_);
  // The member has something to commit: a turn begins after this call.
  void Schedule(Member& member) EXCLUDES_LOCK(mutex_);

 private:
  enum class State { kIdle, kReady, kInHand };
  struct Entry {
    State state = State::kIdle;
    bool again = false;    // scheduled while in somebody's hand
    bool may_hold = true;  // a seat
    uint64_t used_at = 0;  // by turns_
  };

  void FreeSeat() EXCLUDES_LOCK(mutex_);
  void TurnLoop(std::stop_token stop) EXCLUDES_LOCK(mutex_);
  // The member to rest, now in the caller's hand; nullptr: all that may hold a seat are in somebody's hand.
  Member* PickToRestLocked() REQUIRES_LOCK(mutex_);
  void PutBackLocked(Member& member, bool ready) REQUIRES_LOCK(mutex_);
  // If there are fewer threads than could work.
  void AddThreadLocked() REQUIRES_LOCK(mutex_);

  Mutex mutex_;
  CondVar ready_changed_;
  CondVar changed_;  // a seat is free, or a member has left a hand
  size_t seats_ GUARDED_BY(mutex_) = 0;
  uint64_t turns_ GUARDED_BY(mutex_) = 0;
  size_t waiting_threads_ GUARDED_BY(mutex_) = 0;
  std::map<Member*, Entry> members_ GUARDED_BY(mutex_);
  std::deque<Member*> ready_ GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_ GUARDED_BY(mutex_);  // made when they are needed, then they stay
};

}  // namespace runnel::bus::kafka
