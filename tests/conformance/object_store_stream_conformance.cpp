// Streams: large objects in bounded memory, and what is seen of an object that is not finished.
#include <algorithm>
#include <fstream>
#include <string>
#include <thread>

#include <fmt/format.h>

#include "tests/conformance/object_store_conformance.h"

namespace runnel::store {
namespace {

// Peak resident memory of this process since the last call of ResetPeak; 0 where the kernel does not tell.
void ResetPeak() { std::ofstream("/proc/self/clear_refs") << "5"; }
size_t PeakBytes() {
  std::ifstream status("/proc/self/status");
  std::string word;
  while (status >> word) {
    size_t kib = 0;
    if (word == "VmHWM:" && status >> kib) return kib << 10;
  }
  return 0;
}

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr size_t kGrowthMax = SIZE_MAX;  // the sanitizer's own memory
#else
constexpr size_t kGrowthMax = 26 << 20;  // a part, a window of chunks, what allocators keep
#endif

TEST_P(ObjectStoreConformance, StreamsALargeObjectInBoundedMemory) {
  constexpr size_t kPiece = 100001;
  constexpr size_t kCount = 420;  // 42 MB
  const std::string piece = Content(kPiece);
  ASSERT_OK(store_->Put("warm", AsBytes(piece)));
  Read("warm");
  ResetPeak();
  const size_t before = PeakBytes();
  Result<std::unique_ptr<ObjectWriter>> writer =
      store_->StartPut("large", {.timestamp = WallTime(std::chrono::hours(1000))});
  ASSERT_OK(writer);
  for (size_t i = 0; i < kCount; ++i) ASSERT_OK((*writer)->Write(AsBytes(piece)));
  const Result<std::string> version = (*writer)->Commit();
  ASSERT_OK(version);
  writer->reset();

  size_t received = 0;
  bool equal = true;
  const Result<ObjectInfo> info = store_->Get("large", ByteRange::All(), [&](Bytes bytes) {
    for (Bytes rest = bytes; !rest.empty();) {
      const std::string_view expected = std::string_view(piece).substr(received % kPiece, rest.size());
      equal = equal && AsText(rest.first(expected.size())) == expected;
      received += expected.size();
      rest = rest.subspan(expected.size());
    }
    return Ok();
  });
  ASSERT_OK(info);
  EXPECT_LT(PeakBytes() - before, kGrowthMax);
  EXPECT_EQ(received, kPiece * kCount);
  EXPECT_TRUE(equal);
  EXPECT_EQ(info->version, *version);
  EXPECT_EQ(info->timestamp, WallTime(std::chrono::hours(1000)));
  EXPECT_EQ(Read("large", ByteRange::From(30 * kPiece + 7, kPiece)), piece.substr(7) + piece.substr(0, 7));
  EXPECT_EQ(Read("large", ByteRange::Last(10)), piece.substr(kPiece - 10));
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

TEST_P(ObjectStoreConformance, ShowsNothingBeforeCommitAndNothingAfterAbort) {
  ASSERT_OK(store_->Put("old", AsBytes("old")));
  for (const size_t size : {size_t{100}, size_t{20} << 20}) {
    for (const bool abort : {true, false}) {
      Result<std::unique_ptr<ObjectWriter>> fresh = store_->StartPut("new", {});
      Result<std::unique_ptr<ObjectWriter>> over = store_->StartPut("old", {});
      ASSERT_OK(fresh);
      ASSERT_OK(over);
      ASSERT_OK((*fresh)->Write(AsBytes(Content(size))));
      ASSERT_OK((*over)->Write(AsBytes(Content(size))));
      EXPECT_EQ(store_->Head("new").code(), Errc::kNotFound);
      EXPECT_EQ(Read("old"), "old");
      EXPECT_EQ(Listed(), std::vector<std::string>{"old"});
      if (abort) {
        (*fresh)->Abort();
        (*over)->Abort();
      } else {
        fresh->reset();
        over->reset();
      }
      EXPECT_EQ(store_->Head("new").code(), Errc::kNotFound);
      EXPECT_EQ(Read("old"), "old");
      EXPECT_EQ(*place_->LeftoverCount(), 0u) << size << (abort ? " aborted" : " destroyed");
    }
  }
}

TEST_P(ObjectStoreConformance, ALargeObjectThatLosesItsRaceLeavesNothing) {
  Result<std::unique_ptr<ObjectWriter>> late = store_->StartPut("x", {.condition = WriteCondition::IfAbsent()});
  ASSERT_OK(late);
  ASSERT_OK((*late)->Write(AsBytes(Content(9 << 20))));
  ASSERT_OK(store_->PutIfAbsent("x", AsBytes("first")));
  EXPECT_EQ((*late)->Commit().code(), Errc::kConflict);
  late->reset();
  EXPECT_EQ(Read("x"), "first");
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

TEST_P(ObjectStoreConformance, ReadersOfAReplacedObjectNeverSeeAMixture) {
  constexpr size_t kSize = 2 << 20;
  const std::string contents[2] = {Content(kSize, 1), Content(kSize, 2)};
  ASSERT_OK(store_->Put("x", AsBytes(contents[0])));
  std::jthread writer([&](std::stop_token stop) {
    for (int n = 1; !stop.stop_requested(); ++n) {
      const Result<std::string> put = store_->Put("x", AsBytes(contents[n % 2]));
      EXPECT_TRUE(put.ok()) << put.error().message();
    }
  });
  int whole = 0;
  for (int i = 0; i < 20; ++i) {
    const Result<std::string> read = store_->GetAll("x", kSize);
    if (read.ok()) {
      EXPECT_TRUE(*read == contents[0] || *read == contents[1]);
      ++whole;
    } else {
      EXPECT_EQ(read.code(), Errc::kUnavailable) << read.error().message();
    }
  }
  EXPECT_GT(whole, 0);
}

}  // namespace
}  // namespace runnel::store
