// Turns, seats and rests of transactional writers, with members that only count.
#include "bus/kafka/transaction_pool.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <thread>
#include <vector>

#include "ltx/base/time.h"

namespace runnel::bus::kafka {
namespace {

constexpr std::chrono::seconds kPatience(20);

// What is there of producers, and the most there ever was.
struct Census {
  std::atomic<int> now = 0;
  std::atomic<int> most = 0;
  std::atomic<int> opened = 0;
};

class Writer : public TransactionPool::Member {
 public:
  Writer(TransactionPool& pool, Census& census) : pool_(pool), census_(census) { pool_.Add(*this); }
  ~Writer() override { pool_.Remove(*this); }

  void Append(int count) {
    queued_ += count;
    pool_.Schedule(*this);
  }
  int done() const { return done_; }
  int queued() const { return queued_; }
  bool overlapped() const { return overlapped_; }
  int rests() const { return rests_; }

  bool Turn() override {
    const InHand hand(*this);
    if (seat_ == nullptr) {
      Result<std::unique_ptr<TransactionPool::Seat>> seat = pool_.TakeSeat({});
      if (!seat.ok()) return false;
      seat_ = *std::move(seat);
      ++census_.opened;
      const int now = ++census_.now;
      int most = census_.most;
      while (now > most && !census_.most.compare_exchange_weak(most, now)) {
      }
    }
    if (done_ < queued_) ++done_;
    return done_ < queued_;
  }
  void Rest() override {
    const InHand hand(*this);
    if (seat_ == nullptr) return;
    ++rests_;
    --census_.now;
    seat_.reset();
  }

 private:
  struct InHand {
    explicit InHand(Writer& held) : writer(held) {
      if (held.hands_++ != 0) held.overlapped_ = true;
    }
    ~InHand() { --writer.hands_; }
    Writer& writer;
  };

  TransactionPool& pool_;
  Census& census_;
  std::unique_ptr<TransactionPool::Seat> seat_;
  std::atomic<int> queued_ = 0;
  std::atomic<int> done_ = 0;
  std::atomic<int> hands_ = 0;
  std::atomic<int> rests_ = 0;
  std::atomic<bool> overlapped_ = false;
};

bool Await(const std::function<bool()>& event) {
  const SteadyTime deadline = DeadlineIn(kPatience);
  while (!event()) {
    if (TimeLeft(deadline) == std::chrono::milliseconds(0)) return false;
    std::this_thread::yield();
  }
  return true;
}

TEST(TransactionPool, AsManyAsThereAreSeatsNeverRest) {
  TransactionPool pool;
  Census census;
  std::vector<std::unique_ptr<Writer>> writers;
  for (size_t i = 0; i < TransactionPool::kProducersMax; ++i) writers.push_back(std::make_unique<Writer>(pool, census));
  for (int round = 1; round <= 50; ++round) {
    for (const auto& writer : writers) writer->Append(1);
  }
  for (const auto& writer : writers) {
    EXPECT_TRUE(Await([&] { return writer->done() == 50; }));
    EXPECT_EQ(writer->rests(), 0);
  }
  EXPECT_EQ(census.opened, static_cast<int>(TransactionPool::kProducersMax));
}

TEST(TransactionPool, WhoWasIdleForLongestRests) {
  TransactionPool pool;
  Census census;
  std::vector<std::unique_ptr<Writer>> writers;
  const auto turn = [&](size_t i) {
    const int before = writers[i]->done();
    writers[i]->Append(1);
    ASSERT_TRUE(Await([&] { return writers[i]->done() == before + 1; }));
  };
  for (size_t i = 0; i < TransactionPool::kProducersMax; ++i) {
    writers.push_back(std::make_unique<Writer>(pool, census));
    turn(i);
  }
  turn(0);  // so that the second is the one that was idle for longest
  writers.push_back(std::make_unique<Writer>(pool, census));
  turn(writers.size() - 1);
  for (size_t i = 0; i + 1 < writers.size(); ++i) EXPECT_EQ(writers[i]->rests(), i == 1 ? 1 : 0) << i;
  turn(1);
  EXPECT_EQ(writers[2]->rests(), 1);
}

TEST(TransactionPool, EverythingIsDoneByFewProducersAndNoMemberIsInTwoHands) {
  TransactionPool pool;
  Census census;
  std::vector<std::unique_ptr<Writer>> writers;
  for (size_t i = 0; i < 4 * TransactionPool::kProducersMax; ++i)
    writers.push_back(std::make_unique<Writer>(pool, census));
  {
    std::vector<std::jthread> apps;
    for (size_t app = 0; app < 4; ++app) {
      apps.emplace_back([&, app] {
        for (int round = 0; round < 200; ++round) {
          for (size_t i = app; i < writers.size(); i += 4) writers[i]->Append(1 + round % 3);
        }
      });
    }
    // Who takes over needs a seat meanwhile.
    apps.emplace_back([&] {
      for (int i = 0; i < 100; ++i) EXPECT_TRUE(pool.TakeSeat({}).ok());
    });
  }
  for (const auto& writer : writers) {
    EXPECT_TRUE(Await([&] { return writer->done() == writer->queued(); }));
    EXPECT_FALSE(writer->overlapped());
  }
  EXPECT_LE(census.most, static_cast<int>(TransactionPool::kProducersMax));
}

TEST(TransactionPool, LeavingWhileThereIsWorkWaitsForTheTurnOnly) {
  for (int i = 0; i < 50; ++i) {
    TransactionPool pool;
    Census census;
    auto writer = std::make_unique<Writer>(pool, census);
    for (int commit = 0; commit < i; ++commit) writer->Append(1000);
    writer.reset();
  }
}

TEST(TransactionPool, WaitingForASeatEndsWithItsStop) {
  TransactionPool pool;
  std::vector<std::unique_ptr<TransactionPool::Seat>> seats;
  for (size_t i = 0; i < TransactionPool::kProducersMax; ++i) seats.push_back(*pool.TakeSeat({}));
  std::stop_source stop;
  std::jthread asks([&] { EXPECT_EQ(pool.TakeSeat(stop.get_token()).code(), Errc::kCancelled); });
  stop.request_stop();
  asks.join();
  seats.pop_back();
  EXPECT_TRUE(pool.TakeSeat({}).ok());
}

}  // namespace
}  // namespace runnel::bus::kafka
