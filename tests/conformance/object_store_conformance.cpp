#include "tests/conformance/object_store_conformance.h"

#include <algorithm>
#include <atomic>
#include <latch>
#include <thread>
#include <vector>

#include <fmt/format.h>

namespace runnel::store {

void ObjectStoreConformance::SetUp() {
  if (!GetParam().available()) return;
  Result<std::unique_ptr<StorePlace>> place = GetParam().make();
  ASSERT_TRUE(place.ok()) << place.error().message();
  place_ = *std::move(place);
  Result<std::unique_ptr<ObjectStore>> store = place_->Open();
  ASSERT_TRUE(store.ok()) << store.error().message();
  store_ = *std::move(store);
}

std::string ObjectStoreConformance::Content(size_t size, uint32_t seed) {
  std::string content(size, '\0');
  uint32_t state = seed * 2654435761u + 1;
  for (char& c : content) {
    state = state * 1664525u + 1013904223u;
    c = static_cast<char>(state >> 24);
  }
  return content;
}

std::vector<std::string> ObjectStoreConformance::Listed(const std::string& prefix) {
  std::vector<std::string> keys;
  const Status listed = store_->ListAll(prefix, [&](const ObjectInfo& object) {
    keys.push_back(object.key);
    return Ok();
  });
  EXPECT_TRUE(listed.ok()) << listed.error().message();
  return keys;
}

std::string ObjectStoreConformance::Read(const std::string& key, const ByteRange& range) {
  std::string content;
  const Result<ObjectInfo> info = store_->Get(key, range, [&](Bytes piece) {
    content.append(AsText(piece));
    return Ok();
  });
  EXPECT_TRUE(info.ok()) << info.error().message();
  return info.ok() ? content : "(" + info.error().message() + ")";
}

namespace {

TEST_P(ObjectStoreConformance, ReturnsWhatWasPut) {
  for (const size_t size : {size_t{0}, size_t{1}, size_t{4096}, size_t{300001}}) {
    const std::string content = Content(size, static_cast<uint32_t>(size));
    const std::string key = fmt::format("ltx/0/{}.ltx", size);
    const Result<std::string> version = store_->Put(key, AsBytes(content));
    ASSERT_OK(version);
    EXPECT_EQ(Read(key), content);
    const Result<ObjectInfo> info = store_->Head(key);
    ASSERT_OK(info);
    EXPECT_EQ(info->key, key);
    EXPECT_EQ(info->size, size);
    EXPECT_EQ(info->version, *version);
    EXPECT_FALSE(version->empty());
    const auto age = std::chrono::system_clock::now() - info->modified;
    EXPECT_LT(age, std::chrono::minutes(2));
    EXPECT_GT(age, std::chrono::minutes(-2));
  }
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

TEST_P(ObjectStoreConformance, ReturnsRangesAndNothingPastTheEnd) {
  const std::string content = Content(300000);
  ASSERT_OK(store_->Put("x", AsBytes(content)));
  ASSERT_OK(store_->Put("empty", {}));
  EXPECT_EQ(Read("x", ByteRange::From(10, 10)), content.substr(10, 10));
  EXPECT_EQ(Read("x", ByteRange::From(131070, 5)), content.substr(131070, 5));
  EXPECT_EQ(Read("x", ByteRange::From(0, 1)), content.substr(0, 1));
  EXPECT_EQ(Read("x", ByteRange::From(299999)), content.substr(299999));
  EXPECT_EQ(Read("x", ByteRange::From(299990, 100)), content.substr(299990));
  EXPECT_EQ(Read("x", ByteRange::From(1, UINT64_MAX - 1)), content.substr(1));
  EXPECT_EQ(Read("x", ByteRange::Last(16)), content.substr(300000 - 16));
  EXPECT_EQ(Read("x", ByteRange::Last(1000000)), content);
  EXPECT_EQ(Read("x", ByteRange::From(300000)), "");
  EXPECT_EQ(Read("x", ByteRange::From(400000, 5)), "");
  EXPECT_EQ(Read("x", ByteRange::From(5, 0)), "");
  EXPECT_EQ(Read("x", ByteRange::Last(0)), "");
  EXPECT_EQ(Read("empty", ByteRange::From(0, 5)), "");
  EXPECT_EQ(Read("empty", ByteRange::Last(5)), "");
  EXPECT_EQ(store_->Get("x", ByteRange::From(400000, 5), [](Bytes) { return Ok(); })->size, 300000u);

  std::string buffer(100, '\0');
  const MutableBytes out(reinterpret_cast<std::byte*>(buffer.data()), buffer.size());
  EXPECT_EQ(*store_->GetAt("x", 299950, out), 50u);
  EXPECT_EQ(buffer.substr(0, 50), content.substr(299950));
  EXPECT_EQ(store_->GetAll("x", 299999).code(), Errc::kExhausted);
}

TEST_P(ObjectStoreConformance, SaysNotFoundForWhatIsNotThere) {
  ASSERT_OK(store_->Put("there", AsBytes("x")));
  EXPECT_EQ(store_->Head("absent").code(), Errc::kNotFound);
  EXPECT_EQ(store_->GetAll("absent", 10).code(), Errc::kNotFound);
  EXPECT_EQ(store_->Get("absent", ByteRange::Last(5), [](Bytes) { return Ok(); }).code(), Errc::kNotFound);
  const std::string message = store_->Head("absent").error().message();
  EXPECT_NE(message.find("absent"), std::string::npos) << message;
  EXPECT_EQ(store_->Head("a//b").code(), Errc::kInvalid);
  EXPECT_EQ(store_->Put("../x", AsBytes("x")).code(), Errc::kInvalid);
}

TEST_P(ObjectStoreConformance, OverwritesInOneStep) {
  const Result<std::string> first = store_->Put("x", AsBytes(Content(200000, 1)));
  ASSERT_OK(first);
  const Result<std::string> second = store_->Put("x", AsBytes("short"));
  ASSERT_OK(second);
  EXPECT_NE(*first, *second);
  EXPECT_EQ(Read("x"), "short");
  EXPECT_EQ(store_->Head("x")->size, 5u);
  EXPECT_EQ(Listed(), std::vector<std::string>{"x"});
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

TEST_P(ObjectStoreConformance, DeletesAndDoesNotMindDeletingAgain) {
  ASSERT_OK(store_->Put("a/x", AsBytes(Content(200000))));
  ASSERT_OK(store_->Put("a/y", AsBytes("y")));
  ASSERT_OK(store_->Delete("a/x"));
  ASSERT_OK(store_->Delete("a/x"));
  ASSERT_OK(store_->Delete("never/was"));
  EXPECT_EQ(store_->Head("a/x").code(), Errc::kNotFound);
  EXPECT_EQ(Listed(), std::vector<std::string>{"a/y"});
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
  ASSERT_OK(store_->Put("a/x", AsBytes("again")));
  EXPECT_EQ(Read("a/x"), "again");
}

TEST_P(ObjectStoreConformance, PutIfAbsentNeverReplaces) {
  ASSERT_OK(store_->PutIfAbsent("lease", AsBytes("mine")));
  const Result<std::string> refused = store_->PutIfAbsent("lease", AsBytes("theirs"));
  EXPECT_EQ(refused.code(), Errc::kConflict);
  EXPECT_EQ(Read("lease"), "mine");
  ASSERT_OK(store_->Delete("lease"));
  ASSERT_OK(store_->PutIfAbsent("lease", AsBytes("theirs")));
  EXPECT_EQ(Read("lease"), "theirs");
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

TEST_P(ObjectStoreConformance, PutIfVersionOnlyReplacesThatVersion) {
  const Result<std::string> first = store_->Put("lease", AsBytes("first"));
  ASSERT_OK(first);
  const Result<std::string> second =
      store_->Put("lease", AsBytes("second"), {.condition = WriteCondition::IfVersion(*first)});
  ASSERT_OK(second);
  const PutOptions stale{.condition = WriteCondition::IfVersion(*first)};
  EXPECT_EQ(store_->Put("lease", AsBytes("third"), stale).code(), Errc::kConflict);
  EXPECT_EQ(Read("lease"), "second");
  EXPECT_EQ(store_->Head("lease")->version, *second);
  ASSERT_OK(store_->Delete("lease"));
  const PutOptions gone{.condition = WriteCondition::IfVersion(*second)};
  EXPECT_EQ(store_->Put("lease", AsBytes("fourth"), gone).code(), Errc::kConflict);
  EXPECT_EQ(store_->Head("lease").code(), Errc::kNotFound);
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

// Eight threads with handles of their own put the same key at the same moment.
void RaceForOneKey(StorePlace& place, ObjectStore& judge, const std::string& key, const PutOptions& options) {
  constexpr int kThreads = 8;
  std::latch start(kThreads);
  std::vector<Result<std::string>> results(kThreads, Error(Errc::kIo, "did not run"));
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const Result<std::unique_ptr<ObjectStore>> store = place.Open();
        start.arrive_and_wait();
        if (store.ok()) results[i] = (*store)->Put(key, AsBytes(fmt::format("writer {}", i)), options);
      });
    }
  }
  int winner = -1;
  for (int i = 0; i < kThreads; ++i) {
    if (results[i].ok()) {
      EXPECT_EQ(winner, -1) << "two winners";
      winner = i;
    } else {
      EXPECT_EQ(results[i].code(), Errc::kConflict) << results[i].error().message();
    }
  }
  ASSERT_NE(winner, -1) << "no winner";
  EXPECT_EQ(*judge.GetAll(key, 100), fmt::format("writer {}", winner));
  EXPECT_EQ(judge.Head(key)->version, *results[winner]);
}

TEST_P(ObjectStoreConformance, LetsExactlyOneOfEightCreateAKey) {
  for (int round = 0; round < 10; ++round) {
    RaceForOneKey(*place_, *store_, fmt::format("race/{}", round), {.condition = WriteCondition::IfAbsent()});
  }
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

TEST_P(ObjectStoreConformance, LetsExactlyOneOfEightReplaceAVersion) {
  for (int round = 0; round < 10; ++round) {
    const std::string key = fmt::format("race/{}", round);
    const Result<std::string> version = store_->Put(key, AsBytes("before"));
    ASSERT_OK(version);
    RaceForOneKey(*place_, *store_, key, {.condition = WriteCondition::IfVersion(*version)});
  }
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

// Also the first puts of all: the store itself is made by several at once.
TEST_P(ObjectStoreConformance, TakesItsFirstPutsFromEverybodyAtOnce) {
  constexpr int kThreads = 8;
  std::latch start(kThreads);
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        const Result<std::unique_ptr<ObjectStore>> store = place_->Open();
        start.arrive_and_wait();
        const Result<std::string> put = (*store)->Put(fmt::format("first/{}", i), AsBytes(Content(200000)));
        EXPECT_TRUE(put.ok()) << put.error().message();
      });
    }
  }
  EXPECT_EQ(Listed().size(), 8u);
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

TEST_P(ObjectStoreConformance, ManyOverwritersLeaveOneWholeObject) {
  constexpr int kThreads = 4;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        for (int n = 0; n < 5; ++n) {
          const Result<std::string> put = store_->Put("x", AsBytes(Content(150000, static_cast<uint32_t>(i))));
          EXPECT_TRUE(put.ok()) << put.error().message();
        }
      });
    }
  }
  const std::string content = Read("x");
  int matches = 0;
  for (int i = 0; i < kThreads; ++i) matches += content == Content(150000, static_cast<uint32_t>(i)) ? 1 : 0;
  EXPECT_EQ(matches, 1);
  EXPECT_EQ(*place_->LeftoverCount(), 0u);
}

TEST_P(ObjectStoreConformance, KeepsTheTimestamp) {
  const WallTime time(std::chrono::microseconds(1700000000268000));
  ASSERT_OK(store_->Put("x", AsBytes("x"), {.timestamp = time}));
  EXPECT_EQ(store_->Head("x")->timestamp, time);
  EXPECT_EQ(store_->Get("x", ByteRange::All(), [](Bytes) { return Ok(); })->timestamp, time);
  const Result<ListPage> page = store_->List({});
  ASSERT_OK(page);
  // A listing tells it or not, but never another one.
  EXPECT_EQ(page->objects.at(0).timestamp.value_or(time), time);
}

TEST_P(ObjectStoreConformance, TakesOddKeys) {
  std::vector<std::string> keys = {"a b",    "a+b",
                                   "a=b&c",  "a%b",
                                   "a%20b",  "\xc3\xa4\xe2\x82\xac/\xf0\x9f\x90\x9f",
                                   "a'b\"c", "a;b,c",
                                   "(a)!*",  "a~b_",
                                   "#a?b",   "<a>&amp;b",
                                   "a\\b",   "a:b@c",
                                   "$O.x",   std::string(200, 'k')};
  std::ranges::sort(keys);
  for (const std::string& key : keys) {
    ASSERT_OK(store_->Put("odd/" + key, AsBytes(key)));
    EXPECT_EQ(Read("odd/" + key), key);
    EXPECT_EQ(store_->Head("odd/" + key)->size, key.size()) << key;
  }
  std::vector<std::string> expected;
  for (const std::string& key : keys) expected.push_back("odd/" + key);
  EXPECT_EQ(Listed("odd/"), expected);
  for (const std::string& key : keys) {
    const Result<ListPage> page = store_->List({.prefix = "odd/", .start_after = "odd/" + key, .count_max = 1});
    ASSERT_OK(page);
    if (key != keys.back()) {
      EXPECT_EQ(page->objects.at(0).key, *std::ranges::upper_bound(expected, "odd/" + key));
    }
    ASSERT_OK(store_->Delete("odd/" + key));
  }
  EXPECT_TRUE(Listed().empty());
}

TEST_P(ObjectStoreConformance, ListsThousandsOfKeysInOrderPageByPage) {
  constexpr int kCount = 1500;
  std::atomic<int> next{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 8; ++i) {
      threads.emplace_back([&] {
        for (int n = next++; n < kCount; n = next++) {
          // Not in the order of the keys.
          const int number = n * 7 % kCount;
          const Result<std::string> put =
              store_->Put(fmt::format("ltx/{}/{:016x}.ltx", number % 2, number), AsBytes("x"));
          EXPECT_TRUE(put.ok()) << put.error().message();
        }
      });
    }
  }
  std::vector<std::string> expected;
  for (int level = 0; level < 2; ++level) {
    for (int n = level; n < kCount; n += 2) expected.push_back(fmt::format("ltx/{}/{:016x}.ltx", level, n));
  }
  EXPECT_EQ(Listed(), expected);
  EXPECT_EQ(Listed("ltx/1/").size(), kCount / 2u);
  EXPECT_EQ(Listed("ltx/1").size(), kCount / 2u);
  EXPECT_TRUE(Listed("ltx/2").empty());

  const Result<ListPage> first = store_->List({.prefix = "ltx/", .count_max = 1000});
  ASSERT_OK(first);
  EXPECT_EQ(first->objects.size(), 1000u);
  EXPECT_TRUE(first->more);
  const Result<ListPage> rest = store_->List({.prefix = "ltx/", .start_after = expected[999], .count_max = 500});
  ASSERT_OK(rest);
  EXPECT_EQ(rest->objects.size(), 500u);
  EXPECT_FALSE(rest->more) << "exactly the last page";
  // A start between two keys, and one of a key that was deleted since.
  ASSERT_OK(store_->Delete(expected[3]));
  const Result<ListPage> between = store_->List({.prefix = "ltx/", .start_after = expected[3], .count_max = 2});
  ASSERT_OK(between);
  EXPECT_EQ(between->objects.at(0).key, expected[4]);
  EXPECT_EQ(between->objects.at(0).size, 1u);
}

TEST_P(ObjectStoreConformance, ASinkEndsTheGetWithItsOwnError) {
  ASSERT_OK(store_->Put("x", AsBytes(Content(1 << 20))));
  size_t calls = 0;
  const Result<ObjectInfo> got = store_->Get("x", ByteRange::All(), [&](Bytes) -> Status {
    ++calls;
    return Error(Errc::kExhausted, "my disk is full");
  });
  EXPECT_EQ(got.code(), Errc::kExhausted);
  EXPECT_EQ(got.error().message(), "my disk is full");
  EXPECT_EQ(calls, 1u);
  EXPECT_EQ(store_->Head("x")->size, 1u << 20) << "the store goes on";
}

TEST_P(ObjectStoreConformance, KeepsPrefixesApart) {
  const Result<std::unique_ptr<ObjectStore>> one = place_->OpenBelow("dbs/one");
  const Result<std::unique_ptr<ObjectStore>> two = place_->OpenBelow("dbs/two");
  ASSERT_OK(one);
  ASSERT_OK(two);
  ASSERT_OK((*one)->Put("a/x", AsBytes("1")));
  ASSERT_OK((*two)->Put("a/x", AsBytes("2")));
  ASSERT_OK((*one)->Put("b", AsBytes("1b")));
  EXPECT_EQ(*(*one)->GetAll("a/x", 10), "1");
  EXPECT_EQ((*one)->Head("a/x")->key, "a/x");
  const Result<ListPage> page = (*one)->List({.start_after = "a/x"});
  ASSERT_OK(page);
  ASSERT_EQ(page->objects.size(), 1u);
  EXPECT_EQ(page->objects[0].key, "b");
  EXPECT_EQ(Listed(), (std::vector<std::string>{"dbs/one/a/x", "dbs/one/b", "dbs/two/a/x"}));
  ASSERT_OK((*one)->Delete("a/x"));
  EXPECT_EQ(*(*two)->GetAll("a/x", 10), "2");
}

TEST_P(ObjectStoreConformance, RefusesAStrangerWithASentenceAndNoSecret) {
  const Result<std::unique_ptr<ObjectStore>> stranger = place_->OpenAsStranger();
  ASSERT_OK(stranger);
  if (*stranger == nullptr) return;  // it asks nobody who they are
  ASSERT_OK(store_->Put("x", AsBytes("x")));
  for (const Error& error :
       {(*stranger)->Head("x").error(), (*stranger)->GetAll("x", 10).error(), (*stranger)->List({}).error(),
        (*stranger)->Delete("x").error(), (*stranger)->Put("x", AsBytes("y")).error()}) {
    EXPECT_EQ(error.code(), Errc::kInvalid) << error.message();
    EXPECT_EQ(error.message().find("wrong-secret"), std::string::npos) << error.message();
  }
  EXPECT_EQ(Read("x"), "x");
}

TEST_P(ObjectStoreConformance, EndsWhenAStopIsAskedFor) {
  std::stop_source stop;
  const Result<std::unique_ptr<ObjectStore>> store = place_->Open(stop.get_token());
  ASSERT_OK(store);
  ASSERT_OK((*store)->Put("x", AsBytes("x")));
  stop.request_stop();
  EXPECT_EQ((*store)->Put("y", AsBytes("y")).code(), Errc::kCancelled);
  EXPECT_EQ((*store)->Head("x").code(), Errc::kCancelled);
  EXPECT_EQ((*store)->GetAll("x", 10).code(), Errc::kCancelled);
  EXPECT_EQ((*store)->List({}).code(), Errc::kCancelled);
}

}  // namespace
}  // namespace runnel::store
