#include "subscriber/feed/feed_image.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "ltx/base/bytes.h"
#include "ltx/base/crash_point.h"
#include "ltx/base/time.h"
#include "ltx/format/checksum.h"
#include "tests/support/temp_dir.h"

namespace runnel::feed {
namespace {

using testing::TempDir;

constexpr uint32_t kPageBytes = 512;

std::string Filled(char fill) { return std::string(kPageBytes, fill); }

Checksum SumOf(const std::string& image) {
  Checksum sum = Checksum::Empty();
  for (uint32_t n = 1; n <= image.size() / kPageBytes; ++n) {
    sum = sum.Toggle(ltx::PageChecksum(Pgno(n), AsBytes(image).subspan((n - 1) * kPageBytes, kPageBytes)));
  }
  return sum;
}

class FeedImageTest : public ::testing::Test {
 protected:
  void Open() {
    image_.reset();
    Result<std::unique_ptr<FeedImage>> opened = FeedImage::Open((dir_ / "feed").string());
    ASSERT_TRUE(opened.ok()) << opened.error().message();
    image_ = std::move(*opened);
  }
  Status Make(const std::string& fills, Txid txid) {
    bytes_.clear();
    for (char fill : fills) bytes_ += Filled(fill);
    TRY(image_->StartImage(PageSize(kPageBytes), static_cast<uint32_t>(fills.size())));
    for (uint32_t n = 1; n <= fills.size(); ++n) TRY(image_->AddImagePage(Pgno(n), AsBytes(Filled(fills[n - 1]))));
    FeedState state;
    state.position = {txid, SumOf(bytes_)};
    state.phase = Phase::kStream;
    return image_->FinishImage(state);
  }
  // Pages get the fill; the model moves along.
  Status Commit(std::vector<std::pair<uint32_t, char>> pages, uint32_t page_count, bool persist) {
    bytes_.resize(page_count * kPageBytes, '\0');
    TRY(image_->BeginCommit(page_count));
    for (auto [n, fill] : pages) {
      bytes_.replace((n - 1) * kPageBytes, kPageBytes, Filled(fill));
      TRY(image_->AddPage(Pgno(n), AsBytes(Filled(fill))));
    }
    TRY(image_->ProveCommit({image_->position().txid.Next(), SumOf(bytes_)}));
    image_->AcceptCommit();
    return persist ? image_->Persist(image_->state()) : Ok();
  }
  std::string Read() {
    std::string all;
    for (uint32_t n = 1; n <= image_->page_count(); ++n) all += AsText(*image_->Page(Pgno(n)));
    return all;
  }
  std::string Path(const char* name) { return (dir_ / "feed" / name).string(); }
  // Without the room behind the pages.
  std::string File() { return ReadFile(Path("image"), 4 << 20)->substr(0, bytes_.size()); }

  TempDir dir_;
  std::unique_ptr<FeedImage> image_;
  std::string bytes_;
};

TEST_F(FeedImageTest, MovesFromCommitToCommit) {
  Open();
  EXPECT_TRUE(image_->empty());
  ASSERT_TRUE(Make("abc", Txid(1)).ok());
  ASSERT_TRUE(Commit({{2, 'B'}}, 3, false).ok());
  ASSERT_TRUE(Commit({{2, 'x'}, {4, 'd'}, {5, 'e'}}, 5, false).ok());  // grows, and writes a page again
  ASSERT_TRUE(Commit({{1, 'A'}}, 4, false).ok());                      // shrinks
  EXPECT_EQ(Read(), bytes_);
  EXPECT_EQ(image_->state().position.txid, Txid(1));
  ASSERT_TRUE(image_->Persist(image_->state()).ok());
  EXPECT_EQ(image_->state().position, image_->position());
  EXPECT_EQ(Read(), bytes_);
  EXPECT_EQ(File(), bytes_);
}

// Only the bytes that differ are written, and taken back: of several versions of a page, of pages that come, go and
// come again.
TEST_F(FeedImageTest, WritesAndTakesBackWhatDiffers) {
  std::mt19937 random(1);
  auto below = [&random](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  Open();
  ASSERT_TRUE(Make("abcdefgh", Txid(1)).ok());
  std::string persisted = bytes_;
  for (int round = 0; round < 800; ++round) {
    const uint32_t pages = below(4) == 0 ? 2 + below(12) : image_->page_count();
    const uint32_t before = image_->page_count();
    bytes_.resize(pages * kPageBytes, '\0');
    ASSERT_TRUE(image_->BeginCommit(pages).ok());
    for (uint32_t n = 1; n <= pages; ++n) {
      if (n <= before && below(3) != 0) continue;
      for (uint32_t i = below(4); i > 0; --i)
        bytes_[(n - 1) * kPageBytes + below(kPageBytes)] = static_cast<char>(random());
      ASSERT_TRUE(image_->AddPage(Pgno(n), AsBytes(bytes_).subspan((n - 1) * kPageBytes, kPageBytes)).ok());
    }
    ASSERT_TRUE(image_->ProveCommit({image_->position().txid.Next(), SumOf(bytes_)}).ok());
    image_->AcceptCommit();
    ASSERT_EQ(Read(), bytes_);
    if (below(5) == 0) {
      ASSERT_TRUE(image_->Persist(image_->state()).ok());
      persisted = bytes_;
    }
    ASSERT_EQ(File(), bytes_);
    if (below(12) == 0) {
      Open();
      bytes_ = persisted;
    }
    ASSERT_FALSE(image_->damaged());
    ASSERT_EQ(Read(), bytes_);
  }
}

TEST_F(FeedImageTest, ForgetsWhatWasNotPersisted) {
  Open();
  ASSERT_TRUE(Make("abc", Txid(7)).ok());
  ASSERT_TRUE(Commit({{3, 'C'}}, 3, true).ok());
  std::string persisted = bytes_;
  ASSERT_TRUE(Commit({{1, 'A'}, {4, 'd'}}, 4, false).ok());
  Open();
  EXPECT_FALSE(image_->damaged());
  EXPECT_EQ(image_->position().txid, Txid(8));
  EXPECT_EQ(Read(), persisted);
}

TEST_F(FeedImageTest, GoesBackAlsoIfItWasKilledWhileItWent) {
  Open();
  ASSERT_TRUE(Make("abcd", Txid(1)).ok());
  const std::string persisted = bytes_;
  ASSERT_TRUE(Commit({{2, 'B'}}, 2, false).ok());
  ASSERT_TRUE(Commit({{2, 'x'}, {3, 'C'}, {4, 'D'}, {5, 'E'}}, 5, false).ok());
  image_.reset();
  const std::string state = *ReadFile(Path("state"), 1 << 20);
  const std::string undo = *ReadFile(Path("undo"), 1 << 20);
  for (int time = 0; time < 2; ++time) {
    Open();
    EXPECT_FALSE(image_->damaged());
    EXPECT_EQ(Read(), persisted);
    image_.reset();
    // As if it had died before it could say that it is there.
    ASSERT_TRUE(WriteFileAtomically(Path("state"), AsBytes(state)).ok());
    ASSERT_TRUE(WriteFileAtomically(Path("undo"), AsBytes(undo)).ok());
  }
}

TEST_F(FeedImageTest, RoomOfALargeCommitIsGivenBackOnceItIsNotNeeded) {
  Open();
  ASSERT_TRUE(Make(std::string(4000, 'a'), Txid(1)).ok());
  std::vector<std::pair<uint32_t, char>> pages;
  for (uint32_t n = 1; n <= 4000; ++n) pages.emplace_back(n, static_cast<char>('b' + n % 19));
  ASSERT_TRUE(Commit(pages, 4000, false).ok());
  auto bytes = [this] { return std::filesystem::file_size(Path("undo")) + std::filesystem::file_size(Path("staged")); };
  EXPECT_GT(bytes(), 2 * 4000 * kPageBytes);
  Open();  // with what is needed to go back
  EXPECT_EQ(Read(), std::string(4000 * kPageBytes, 'a'));
  Open();
  EXPECT_LE(bytes(), 64 << 10);
  EXPECT_EQ(Read(), std::string(4000 * kPageBytes, 'a'));
}

TEST_F(FeedImageTest, WhatAnEarlierStateWouldTakeBackDoesNotCount) {
  Open();
  ASSERT_TRUE(Make("abc", Txid(1)).ok());
  ASSERT_TRUE(Commit({{2, 'B'}, {4, 'd'}}, 4, false).ok());
  const std::string undo = *ReadFile(Path("undo"), 1 << 20);
  ASSERT_TRUE(image_->Persist(image_->state()).ok());
  image_.reset();
  // As if it had died between the state and the word that nothing is to be taken back.
  ASSERT_TRUE(WriteFileAtomically(Path("undo"), AsBytes(undo)).ok());
  Open();
  EXPECT_FALSE(image_->damaged());
  EXPECT_EQ(Read(), bytes_);
}

// After a power loss anything may stand there; what is taken back is proven like everything else.
TEST_F(FeedImageTest, DamagedUndoRecordsAreFoundOut) {
  Open();
  ASSERT_TRUE(Make("abc", Txid(1)).ok());
  const std::string persisted = bytes_;
  // Two different changes: a database's checksum is the XOR of its pages' CRCs, in which the same change twice is none.
  ASSERT_TRUE(Commit({{2, 'x'}, {3, 'z'}}, 3, false).ok());
  image_.reset();
  const std::string state = *ReadFile(Path("state"), 1 << 20);
  const std::string undo = *ReadFile(Path("undo"), 1 << 20);
  const std::string image = *ReadFile(Path("image"), 4 << 20);
  int found = 0;
  for (size_t bit = 0; bit < size_t{8} * (16 + 16 + 8); ++bit) {
    std::string damaged = undo;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    ASSERT_TRUE(WriteFileAtomically(Path("state"), AsBytes(state)).ok());
    ASSERT_TRUE(WriteFileAtomically(Path("image"), AsBytes(image)).ok());
    ASSERT_TRUE(WriteFileAtomically(Path("undo"), AsBytes(damaged)).ok());
    Open();
    if (image_->damaged()) {
      ++found;
    } else {
      EXPECT_EQ(Read(), persisted) << bit;
    }
    image_.reset();
  }
  EXPECT_GT(found, 200);  // some bytes mean nothing
}

// A history that anyone can tell from the number of a commit: each writes some pages, and makes the database one page
// smaller or larger in turn.
struct History {
  static constexpr uint32_t kPages = 40;
  uint64_t txid = 1;
  std::string bytes;
  std::vector<uint32_t> written;

  static uint32_t PagesAt(uint64_t txid) { return kPages - static_cast<uint32_t>(txid % 2); }
  void Advance() {
    ++txid;
    bytes.resize(PagesAt(txid) * kPageBytes, '\0');
    written.clear();
    for (uint32_t n = 1; n <= PagesAt(txid); ++n) {
      if ((txid * 31 + n * 7) % 5 != 0 && n != kPages) continue;
      std::mt19937_64 random(txid * 1000 + n);
      std::string page = Filled(static_cast<char>('a' + n));
      for (uint64_t i = random() % 4; i > 0; --i) page[random() % kPageBytes] = static_cast<char>(random());
      bytes.replace((n - 1) * kPageBytes, kPageBytes, page);
      written.push_back(n);
    }
  }
};

Status Accept(FeedImage& image, const History& history) {
  TRY(image.BeginCommit(History::PagesAt(history.txid)));
  for (uint32_t n : history.written) {
    TRY(image.AddPage(Pgno(n), AsBytes(history.bytes).subspan((n - 1) * kPageBytes, kPageBytes)));
  }
  TRY(image.ProveCommit({Txid(history.txid), SumOf(history.bytes)}));
  image.AcceptCommit();
  return history.txid % 7 == 0 ? image.Persist(image.state()) : Ok();
}

// In a process of its own, until it is killed, or has made more commits than any kill waits for; says by a byte that it
// has begun.
[[noreturn]] void CommitUntilKilled(const std::string& dir, History history, int begun) {
  Result<std::unique_ptr<FeedImage>> image = FeedImage::Open(dir);
  if (!image.ok() || ::write(begun, "", 1) != 1) ::_exit(1);
  while (history.txid < (*image)->position().txid.raw()) history.Advance();
  for (int commits = 0; commits < 5000; ++commits) {
    history.Advance();
    if (!Accept(**image, history).ok()) break;
  }
  ::_exit(1);
}

class FeedImageKillTest : public FeedImageTest {
 protected:
  FeedImageKillTest() {
    Open();
    EXPECT_TRUE(Make(std::string(History::kPages, 'a'), Txid(1)).ok());
    image_.reset();
    history_.bytes = bytes_;
  }
  // Until it is killed: at the point, or else some time after it has begun.
  void RunChild(const std::string& point, std::chrono::microseconds then = {}) {
    int begun[2];
    ASSERT_EQ(::pipe(begun), 0);
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      ::setenv("RUNNEL_CRASH_POINT", point.c_str(), 1);
      crash_point_detail::ReadAgain();
      CommitUntilKilled(dir_ / "feed", history_, begun[1]);
    }
    ::close(begun[1]);
    char byte = 0;
    EXPECT_LE(::read(begun[0], &byte, 1), 1);
    ::close(begun[0]);
    if (point.empty()) {
      ASSERT_TRUE(SleepUntil(DeadlineIn(then), {}).ok());  // to be killed at any place, not to wait for one
      ASSERT_EQ(::kill(child, SIGKILL), 0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << "it ended by itself: " << status;
  }
  bool HasRecords() { return (LoadBe64(AsBytes(*ReadFile(Path("undo"), 4 << 20)).data()) & 0xffffff) != 0; }
  void ExpectItIsWhereItsStateSays() {
    Open();
    ASSERT_FALSE(image_->damaged());
    while (history_.txid < image_->position().txid.raw()) history_.Advance();
    ASSERT_EQ(image_->position(), Position(Txid(history_.txid), SumOf(history_.bytes)));
    ASSERT_EQ(Read(), history_.bytes);
    image_.reset();
  }

  History history_;
};

TEST_F(FeedImageKillTest, AtARandomMoment) {
  std::mt19937 random(7);
  int taken_back = 0;
  for (int round = 0; round < 100; ++round) {
    RunChild("", std::chrono::microseconds(random() % 4000));
    taken_back += HasRecords() ? 1 : 0;
    ExpectItIsWhereItsStateSays();
    if (HasFatalFailure()) FAIL() << "round " << round;
  }
  EXPECT_GT(history_.txid, 100);
  EXPECT_GT(taken_back, 10);
}

TEST_F(FeedImageKillTest, AtEachNamedPoint) {
  for (const char* point : {"feed_undo_written", "feed_undo_published", "feed_page_written", "feed_state_written",
                            "feed_page_taken_back"}) {
    for (int passage : {1, 2, 9, 30}) {
      const std::string there = point + (":" + std::to_string(passage));
      // More than 30 pages of commits behind the last state, which the next start takes back first.
      RunChild("feed_commit_accepted:6");
      ASSERT_TRUE(HasRecords());
      RunChild(there);
      ExpectItIsWhereItsStateSays();
      if (HasFatalFailure()) FAIL() << there;
    }
  }
}

TEST_F(FeedImageTest, RefusesACommitThatDoesNotLeadToItsChecksum) {
  Open();
  ASSERT_TRUE(Make("abc", Txid(1)).ok());
  ASSERT_TRUE(image_->BeginCommit(3).ok());
  ASSERT_TRUE(image_->AddPage(Pgno(2), AsBytes(Filled('B'))).ok());
  Status proven = image_->ProveCommit({Txid(2), SumOf(Filled('a') + Filled('b') + Filled('c'))});
  ASSERT_FALSE(proven.ok());
  EXPECT_EQ(proven.code(), Errc::kCorrupt);
  image_->AbortCommit();
  EXPECT_EQ(Read(), bytes_);
  EXPECT_EQ(image_->AddPage(Pgno(9), AsBytes(Filled('B'))).code(), Errc::kCorrupt);
  EXPECT_EQ(image_->AddPage(Pgno(1), AsBytes(std::string("short"))).code(), Errc::kCorrupt);
}

TEST_F(FeedImageTest, RefusesASnapshotThatIsNotWhatItsPositionNames) {
  Open();
  ASSERT_TRUE(image_->StartImage(PageSize(kPageBytes), 1).ok());
  ASSERT_TRUE(image_->AddImagePage(Pgno(1), AsBytes(Filled('a'))).ok());
  FeedState state;
  state.position = {Txid(1), SumOf(Filled('b'))};
  EXPECT_EQ(image_->FinishImage(state).code(), Errc::kCorrupt);
  Open();
  EXPECT_TRUE(image_->empty());
}

TEST_F(FeedImageTest, NoticesAnImageThatWasChangedUnderIt) {
  Open();
  ASSERT_TRUE(Make("abc", Txid(1)).ok());
  std::string path = (dir_ / "feed/image").string();
  image_.reset();
  std::string damaged = File();
  damaged[700] ^= 1;
  ASSERT_TRUE(WriteFileAtomically(path, AsBytes(damaged)).ok());
  Open();
  EXPECT_TRUE(image_->damaged());
}

// Only what a commit changes in a page is summed up; all the same damage anywhere in that page is found by it.
TEST_F(FeedImageTest, RefusesTheNextCommitOfAPageThatWasChangedUnderIt) {
  Open();
  ASSERT_TRUE(Make("abc", Txid(1)).ok());
  const std::string whole = bytes_;
  std::string page = Filled('b');
  page[100] = 'B';
  bytes_.replace(kPageBytes, kPageBytes, page);
  for (size_t damaged : {size_t{0}, size_t{99}, size_t{100}, size_t{101}, size_t{kPageBytes - 1}}) {
    std::fstream file(dir_ / "feed/image", std::ios::in | std::ios::out | std::ios::binary);
    auto flip = [&file, &whole, damaged](char bit) {
      file.seekp(static_cast<std::streamoff>(kPageBytes + damaged));
      file.put(static_cast<char>(whole[kPageBytes + damaged] ^ bit)).flush();
    };
    for (bool is_damaged : {true, false}) {
      flip(is_damaged ? 1 : 0);
      ASSERT_TRUE(image_->BeginCommit(3).ok());
      ASSERT_TRUE(image_->AddPage(Pgno(2), AsBytes(page)).ok());
      EXPECT_EQ(image_->ProveCommit({Txid(2), SumOf(bytes_)}).ok(), !is_damaged) << damaged;
      image_->AbortCommit();
    }
  }
}

TEST_F(FeedImageTest, BelongsToOneFeedAtATime) {
  Open();
  Result<std::unique_ptr<FeedImage>> second = FeedImage::Open((dir_ / "feed").string());
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.code(), Errc::kConflict);
}

}  // namespace
}  // namespace runnel::feed
