#include "publisher/wake_hub.h"

#include <gtest/gtest.h>

#include <fstream>
#include <thread>

#include "tests/support/temp_dir.h"

namespace runnel::publisher {
namespace {

using std::chrono::seconds;
using Clock = std::chrono::steady_clock;

void Append(const std::filesystem::path& path) { std::ofstream(path, std::ios::app) << "x"; }

// Sleeps until one of the bits is there, at most 10 s.
uint32_t TakeAny(WakeHub::Client& client, uint32_t bits) {
  uint32_t seen = 0;
  for (Clock::time_point end = Clock::now() + seconds(10); Clock::now() < end && (seen & bits) == 0;) {
    client.SleepFor(end - Clock::now());
    seen |= client.Take();
  }
  return seen;
}

TEST(WakeHub, TellsEachDatabaseOfItsOwnWritesOnce) {
  runnel::testing::TempDir dir;
  for (const char* name : {"a", "a-wal", "b", "b-wal"}) Append(dir / name);
  WakeHub hub;
  ASSERT_TRUE(hub.available());
  std::unique_ptr<WakeHub::Client> a = hub.Attach(dir / "a");
  std::unique_ptr<WakeHub::Client> b = hub.Attach(dir / "b");
  ASSERT_TRUE(a->ArmWal() && a->ArmDb() && b->ArmWal());
  Append(dir / "a-wal");
  EXPECT_EQ(TakeAny(*a, WakeHub::kWal), WakeHub::kWal);
  Append(dir / "a-wal");  // not armed again: nobody is told
  Append(dir / "a");
  EXPECT_EQ(TakeAny(*a, WakeHub::kDb), WakeHub::kDb);
  EXPECT_EQ(b->Take(), 0u);
  ASSERT_TRUE(a->ArmWal());
  Append(dir / "a-wal");
  EXPECT_EQ(TakeAny(*a, WakeHub::kWal), WakeHub::kWal);
}

TEST(WakeHub, TellsBothWhoWatchOneFile) {
  runnel::testing::TempDir dir;
  Append(dir / "a-wal");
  WakeHub hub;
  std::unique_ptr<WakeHub::Client> first = hub.Attach(dir / "a");
  std::unique_ptr<WakeHub::Client> second = hub.Attach(dir / "a");
  ASSERT_TRUE(first->ArmWal() && second->ArmWal());
  Append(dir / "a-wal");
  EXPECT_EQ(TakeAny(*first, WakeHub::kWal), WakeHub::kWal);
  EXPECT_EQ(TakeAny(*second, WakeHub::kWal), WakeHub::kWal);
}

TEST(WakeHub, SaysWhenAFileCannotBeWatched) {
  runnel::testing::TempDir dir;
  WakeHub hub;
  EXPECT_FALSE(hub.Attach(dir / "none")->ArmWal());
}

TEST(WakeHub, ANotifyFromAnotherThreadEndsASleepEarly) {
  runnel::testing::TempDir dir;
  WakeHub hub;
  std::unique_ptr<WakeHub::Client> client = hub.Attach(dir / "a");
  Clock::time_point start = Clock::now();
  std::jthread waker([&] { client->Notify(WakeHub::kWake); });
  client->SleepFor(seconds(30));
  EXPECT_EQ(client->Take(), WakeHub::kWake);
  EXPECT_LT(Clock::now() - start, seconds(20));
}

}  // namespace
}  // namespace runnel::publisher
