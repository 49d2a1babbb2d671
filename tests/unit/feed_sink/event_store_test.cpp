#include "subscriber/feed/sink/event_store.h"

#include <filesystem>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "ltx/base/fs.h"
#include "tests/support/temp_dir.h"

namespace runnel::feed {
namespace {

using std::chrono::milliseconds;

constexpr uint64_t kKeep = 64 << 10;

Token At(uint64_t txid, uint64_t ordinal, bool snapshot = false) {
  LineageId lineage{};
  lineage[0] = 7;
  return Token{lineage, Txid(txid), snapshot, ordinal};
}

class EventStoreTest : public ::testing::Test {
 protected:
  std::string dir() const { return (dir_ / "events").string(); }

  void Reopen(uint64_t keep = kKeep, milliseconds wait = milliseconds(1)) {
    store_.reset();
    Result<std::unique_ptr<EventStore>> store = EventStore::Open({dir(), keep, wait});
    ASSERT_TRUE(store.ok()) << store.error().message();
    store_ = std::move(*store);
  }
  void Append(const Token& token, const std::string& text) {
    ASSERT_TRUE(store_->Append(token, text, token.ordinal == 2).ok());
  }
  // BEGIN, one row, END of each commit, flushed each.
  void Commit(uint64_t txid, const std::string& text = "row") {
    Append(At(txid, 0), "begin");
    Append(At(txid, 1), text);
    Append(At(txid, 2), "end");
    ASSERT_TRUE(store_->Flush({}).ok());
  }
  std::unique_ptr<EventReader> Read(const EventStart& start) {
    Result<std::unique_ptr<EventReader>> reader = store_->Read(start);
    EXPECT_TRUE(reader.ok()) << reader.error().message();
    return reader.ok() ? std::move(*reader) : nullptr;
  }
  // "1:0 1:1 1:2" and what ended it.
  static std::string Rest(EventReader& reader) {
    std::string seen;
    while (true) {
      Status next = reader.Next(DeadlineIn(milliseconds(0)), {}, [&seen](const Token& token, std::string_view) {
        seen += std::to_string(token.txid.raw()) + ":" + std::to_string(token.ordinal) + " ";
      });
      if (next.ok()) continue;
      return next.code() == Errc::kTimeout ? seen : seen + std::string(ToString(next.code()));
    }
  }

  testing::TempDir dir_;
  std::unique_ptr<EventStore> store_;
};

TEST_F(EventStoreTest, ShowsWhatWasFlushedAndNothingElse) {
  Reopen();
  std::unique_ptr<EventReader> reader = Read(AtOldest());
  Append(At(1, 0), "begin");
  EXPECT_EQ(Rest(*reader), "");
  ASSERT_TRUE(store_->Flush({}).ok());
  EXPECT_EQ(Rest(*reader), "1:0 ");
  Append(At(1, 1), "never flushed");
  store_->Discard();
  Commit(2);
  EXPECT_EQ(Rest(*reader), "2:0 2:1 2:2 ");
}

TEST_F(EventStoreTest, ShowsTheTextAsItWas) {
  Reopen();
  const std::string large(700 << 10, 'x');
  Append(At(1, 0), "");
  Append(At(1, 1), large);
  ASSERT_TRUE(store_->Flush({}).ok());
  std::unique_ptr<EventReader> reader = Read(AtOldest());
  std::vector<std::string> texts;
  for (int i = 0; i < 3 && texts.size() < 2; ++i) {
    ASSERT_TRUE(reader
                    ->Next(DeadlineIn(milliseconds(0)), {},
                           [&texts](const Token&, std::string_view text) { texts.emplace_back(text); })
                    .ok());
  }
  EXPECT_EQ(texts, (std::vector<std::string>{"", large}));
}

TEST_F(EventStoreTest, BeginsBehindATokenWithAWholeCommitOrWithTheNextOne) {
  Reopen();
  Commit(1);
  Commit(2);
  EXPECT_EQ(Rest(*Read(At(1, 1))), "1:2 2:0 2:1 2:2 ");
  EXPECT_EQ(Rest(*Read(AtOldest())), "1:0 1:1 1:2 2:0 2:1 2:2 ");
  std::unique_ptr<EventReader> newest = Read(AtNewest());
  EXPECT_EQ(Rest(*newest), "");
  Append(At(3, 1), "the rest of a commit whose beginning it has not seen");
  ASSERT_TRUE(store_->Flush({}).ok());
  Commit(4);
  EXPECT_EQ(Rest(*newest), "4:0 4:1 4:2 ");
}

TEST_F(EventStoreTest, GoesOnWhereItWasAfterItWasOpenedAgain) {
  Reopen();
  Commit(1);
  Reopen();
  EXPECT_EQ(store_->kept().newest, At(1, 2));
  EXPECT_TRUE(store_->kept().newest_ends);
  Commit(2);
  EXPECT_EQ(Rest(*Read(At(1, 2))), "2:0 2:1 2:2 ");
}

TEST_F(EventStoreTest, IsHeldByOneWriter) {
  Reopen();
  Result<std::unique_ptr<EventStore>> second = EventStore::Open({dir(), kKeep, milliseconds(1)});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), Errc::kConflict);
}

TEST_F(EventStoreTest, RemovesWhatIsOldAndSaysSo) {
  Reopen();
  std::unique_ptr<EventReader> slow = Read(AtOldest());
  Commit(1);
  EXPECT_EQ(Rest(*slow), "1:0 1:1 1:2 ");
  for (uint64_t txid = 2; txid <= 60; ++txid) Commit(txid, std::string(4 << 10, 'x'));
  EXPECT_EQ(Rest(*slow), "gap");
  Result<std::unique_ptr<EventReader>> late = store_->Read(At(1, 2));
  ASSERT_FALSE(late.ok());
  EXPECT_EQ(late.code(), Errc::kGap);
  const KeptEvents kept = store_->kept();
  ASSERT_TRUE(kept.oldest && kept.before);
  EXPECT_GT(*kept.oldest, At(30, 0));
  // Whoever has all that is not kept any more can go on.
  EXPECT_TRUE(Rest(*Read(*kept.before)).ends_with("60:0 60:1 60:2 "));
  slow.reset();
  Reopen();
  EXPECT_EQ(store_->kept().before, kept.before);
  EXPECT_EQ(store_->kept().oldest, kept.oldest);
}

TEST_F(EventStoreTest, KeepsNoMoreThanItShouldWhateverIsFlushedAtOnce) {
  Reopen();
  for (uint64_t txid = 1; txid <= 500; ++txid) Append(At(txid, 0), std::string(4 << 10, 'x'));
  ASSERT_TRUE(store_->Flush({}).ok());
  uint64_t bytes = 0;
  Result<std::vector<std::string>> names = ListDir(dir());
  ASSERT_TRUE(names.ok());
  for (const std::string& name : *names) bytes += std::filesystem::file_size(dir() + "/" + name);
  EXPECT_LE(bytes, kKeep + kKeep / 4);
  EXPECT_GE(bytes, kKeep / 2);
}

TEST_F(EventStoreTest, WaitsForASlowReaderOnlySoLong) {
  Reopen(kKeep, milliseconds(30));
  Commit(1);
  std::unique_ptr<EventReader> stuck = Read(AtOldest());
  const SteadyTime start = std::chrono::steady_clock::now();
  for (uint64_t txid = 2; txid <= 30; ++txid) Commit(txid, std::string(4 << 10, 'x'));
  const auto took = std::chrono::steady_clock::now() - start;
  EXPECT_GE(took, milliseconds(30));
  EXPECT_LT(took, milliseconds(5000));
  EXPECT_EQ(Rest(*stuck), "gap");
}

TEST_F(EventStoreTest, ATokenAheadOfAllIsWaitedFor) {
  Reopen();
  Commit(1);
  std::unique_ptr<EventReader> ahead = Read(At(3, 1));
  Commit(2);
  Commit(3);
  EXPECT_EQ(Rest(*ahead), "3:2 ");
}

TEST_F(EventStoreTest, ATokenFromBeforeTheFirstEventIsFoundOutWhenThatComes) {
  Reopen();
  std::unique_ptr<EventReader> reader = Read(At(4, 0));
  EXPECT_EQ(Rest(*reader), "");
  Commit(9);
  EXPECT_EQ(Rest(*reader), "gap");
}

TEST(CanReadBehindTest, KnowsWhatIsKept) {
  Token foreign = At(5, 0);
  foreign.lineage[0] = 8;
  const KeptEvents none;
  const KeptEvents first{std::nullopt, At(3, 0), At(9, 2), true};
  const KeptEvents later{At(2, 2), At(3, 0), At(9, 2), true};
  auto code = [](const Status& status) {
    return status.ok() ? std::string("ok") : std::string(ToString(status.code()));
  };
  EXPECT_EQ(code(CanReadBehind(none, At(1, 0))), "ok");
  EXPECT_EQ(code(CanReadBehind(first, At(2, 2))), "gap");
  EXPECT_EQ(code(CanReadBehind(first, At(3, 0))), "ok");
  EXPECT_EQ(code(CanReadBehind(later, At(2, 1))), "gap");
  EXPECT_EQ(code(CanReadBehind(later, At(2, 2))), "ok");
  EXPECT_EQ(code(CanReadBehind(later, At(99, 0))), "ok");
  EXPECT_EQ(code(CanReadBehind(later, foreign)), "refused");
}

// What a kill or a power cut can leave: any prefix of the last segment holds a prefix of the events.
TEST_F(EventStoreTest, OpensAfterItWasCutAtAnyByte) {
  Reopen();
  Commit(1, "one");
  Commit(2, "two");
  store_.reset();
  const std::string path = dir() + "/events-0000000000000001";
  Result<std::string> whole = ReadFile(path, 1 << 20);
  ASSERT_TRUE(whole.ok());
  for (size_t size = whole->size(); size-- > 0;) {
    ASSERT_TRUE(WriteFileAtomically(path, AsBytes(*whole).first(size)).ok());
    Reopen();
    const std::string all = "1:0 1:1 1:2 2:0 2:1 2:2 ";
    const std::string rest = store_->kept().oldest ? Rest(*Read(AtOldest())) : "";
    EXPECT_LT(rest.size(), all.size());
    EXPECT_TRUE(all.starts_with(rest)) << size << ": " << rest;
    Commit(3);
    EXPECT_TRUE(Rest(*Read(AtOldest())).ends_with("3:0 3:1 3:2 ")) << size;
    store_.reset();
  }
}

TEST_F(EventStoreTest, ShowsNothingThatIsDamaged) {
  Reopen();
  Commit(1, "one");
  store_.reset();
  const std::string path = dir() + "/events-0000000000000001";
  Result<std::string> whole = ReadFile(path, 1 << 20);
  ASSERT_TRUE(whole.ok());
  for (size_t at = 0; at < whole->size(); ++at) {
    std::string damaged = *whole;
    damaged[at] = static_cast<char>(damaged[at] ^ 0x10);
    ASSERT_TRUE(WriteFileAtomically(path, AsBytes(damaged)).ok());
    Reopen();
    const std::string rest = store_->kept().oldest ? Rest(*Read(AtOldest())) : "";
    EXPECT_TRUE(rest.empty() || rest == "1:0 " || rest == "1:0 1:1 ") << at << ": " << rest;
    store_.reset();
  }
}

TEST_F(EventStoreTest, AReaderSeesDamageThatHappensUnderIt) {
  Reopen();
  Commit(1, "one");
  const std::string path = dir() + "/events-0000000000000001";
  Result<File> file = File::OpenReadWrite(path);
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->WriteAt(60, AsBytes("damage")).ok());
  EXPECT_EQ(Rest(*Read(AtOldest())), "corrupt");
}

}  // namespace
}  // namespace runnel::feed
