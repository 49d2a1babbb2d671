#include "ltx/base/sync.h"

#include <thread>
#include <vector>

#include <gtest/gtest.h>

#include "ltx/base/time.h"

namespace runnel {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

SteadyTime Soon() { return DeadlineIn(seconds(10)); }

TEST(CondVar, TellsATimeoutFromAWakeUp) {
  Mutex mutex;
  CondVar cond;
  MutexLock lock(mutex);
  EXPECT_FALSE(cond.WaitUntil(mutex, std::stop_token(), DeadlineIn(milliseconds(1))));
  EXPECT_FALSE(cond.WaitUntil(mutex, std::stop_token(), DeadlineIn(milliseconds(-1))));
}

TEST(CondVar, WakesAWaiterWhenNotified) {
  Mutex mutex;
  CondVar cond;
  bool ready = false;
  std::jthread other([&] {
    MutexLock lock(mutex);
    ready = true;
    cond.NotifyAll();
  });
  MutexLock lock(mutex);
  while (!ready) ASSERT_TRUE(cond.WaitUntil(mutex, std::stop_token(), Soon()));
}

TEST(CondVar, ReturnsWhenAStopIsAskedForWhileSleeping) {
  Mutex mutex;
  CondVar cond;
  std::stop_source source;
  std::jthread other([&source] { source.request_stop(); });
  MutexLock lock(mutex);
  while (cond.WaitUntil(mutex, source.get_token(), NoDeadline())) {
  }
  EXPECT_TRUE(source.stop_requested());
}

TEST(Latest, GivesOnlyTheNewestValueToALateWaiter) {
  Latest<int> latest(1);
  latest.Set(2);
  latest.Set(3);
  Result<Latest<int>::Seen> seen = latest.WaitPast(0, std::stop_token(), Soon());
  ASSERT_TRUE(seen.ok());
  EXPECT_EQ(seen->value, 3);
  EXPECT_EQ(seen->version, 2u);
  EXPECT_EQ(latest.Get(), 3);
}

TEST(Latest, WaitPastTimesOutWhenNothingNewerComes) {
  Latest<int> latest(1);
  Result<Latest<int>::Seen> seen = latest.WaitPast(0, std::stop_token(), DeadlineIn(milliseconds(1)));
  ASSERT_FALSE(seen.ok());
  EXPECT_EQ(seen.code(), Errc::kTimeout);
}

TEST(Latest, WaitForSeesTheValueAnotherThreadSets) {
  Latest<int> latest;
  std::jthread other([&latest] {
    for (int i = 1; i <= 100; ++i) latest.Set(i);
  });
  Result<int> value = latest.WaitFor([](int now) { return now >= 100; }, std::stop_token(), Soon());
  ASSERT_TRUE(value.ok());
  EXPECT_EQ(*value, 100);
}

TEST(Latest, WaitForEndsAtAStop) {
  Latest<int> latest;
  std::stop_source source;
  std::jthread other([&source] { source.request_stop(); });
  Result<int> value = latest.WaitFor([](int now) { return now > 0; }, source.get_token(), NoDeadline());
  ASSERT_FALSE(value.ok());
  EXPECT_EQ(value.code(), Errc::kCancelled);
}

TEST(BoundedQueue, KeepsOrderAndMakesAFastProducerWait) {
  BoundedQueue<int> queue(3);
  constexpr int kCount = 1000;
  std::jthread producer([&queue] {
    for (int i = 0; i < kCount; ++i) ASSERT_TRUE(queue.Push(i, std::stop_token(), Soon()).ok());
    queue.Close();
  });
  std::vector<int> got;
  for (;;) {
    Result<int> value = queue.Pop(std::stop_token(), Soon());
    if (!value.ok()) {
      EXPECT_EQ(value.code(), Errc::kCancelled);
      break;
    }
    EXPECT_LE(queue.size(), 3u);
    got.push_back(*value);
  }
  ASSERT_EQ(got.size(), size_t{kCount});
  for (int i = 0; i < kCount; ++i) EXPECT_EQ(got[static_cast<size_t>(i)], i);
}

TEST(BoundedQueue, RefusesWhenFullOrClosed) {
  BoundedQueue<int> queue(1);
  EXPECT_TRUE(queue.TryPush(1));
  EXPECT_FALSE(queue.TryPush(2));
  Status pushed = queue.Push(2, std::stop_token(), DeadlineIn(milliseconds(1)));
  ASSERT_FALSE(pushed.ok());
  EXPECT_EQ(pushed.code(), Errc::kTimeout);
  queue.Close();
  EXPECT_TRUE(queue.Pop(std::stop_token(), Soon()).ok());
  EXPECT_FALSE(queue.TryPush(3));
  EXPECT_EQ(queue.Push(3, std::stop_token(), Soon()).code(), Errc::kCancelled);
}

TEST(BoundedQueue, PopOfAnEmptyOneTimesOutOrStops) {
  BoundedQueue<int> queue(1);
  EXPECT_EQ(queue.Pop(std::stop_token(), DeadlineIn(milliseconds(1))).code(), Errc::kTimeout);
  std::stop_source source;
  source.request_stop();
  EXPECT_EQ(queue.Pop(source.get_token(), Soon()).code(), Errc::kCancelled);
}

}  // namespace
}  // namespace runnel
