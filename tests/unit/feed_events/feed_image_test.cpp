#include "subscriber/feed/feed_image.h"

#include <gtest/gtest.h>

#include <fstream>
#include <random>

#include "ltx/base/bytes.h"
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
  std::string File() { return *ReadFile((dir_ / "feed/image").string(), 1 << 20); }

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
  EXPECT_EQ(File().substr(0, 3 * kPageBytes), Filled('a') + Filled('b') + Filled('c'));
  ASSERT_TRUE(image_->Persist(image_->state()).ok());
  EXPECT_EQ(Read(), bytes_);
  EXPECT_EQ(File(), bytes_);
}

// Only the bytes that differ are written: of several versions of a page, of pages that come, go and come again.
TEST_F(FeedImageTest, WritesWhatDiffersAndNothingIsMissed) {
  std::mt19937 random(1);
  auto below = [&random](uint32_t n) { return static_cast<uint32_t>(random() % n); };
  Open();
  ASSERT_TRUE(Make("abcdefgh", Txid(1)).ok());
  for (int round = 0; round < 400; ++round) {
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
    if (below(5) != 0) continue;
    ASSERT_TRUE(image_->Persist(image_->state()).ok());
    ASSERT_EQ(File(), bytes_);
    if (below(4) == 0) Open();
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

TEST_F(FeedImageTest, FinishesWhatAKilledFeedHadBegunToWrite) {
  Open();
  ASSERT_TRUE(Make("abc", Txid(1)).ok());
  ASSERT_TRUE(Commit({{2, 'B'}, {4, 'd'}}, 4, false).ok());
  // As if it had died behind the word that the pages belong to the image, before any of them was in the file.
  FeedState marked = image_->state();
  marked.position = image_->position();
  marked.page_count = 4;
  marked.redo_pages = 2;
  image_.reset();
  {
    Result<StateFile> file = StateFile::Open((dir_ / "feed/state").string());
    ASSERT_TRUE(file.ok());
    file->Write(marked);
  }
  Open();
  EXPECT_FALSE(image_->damaged());
  EXPECT_EQ(Read(), bytes_);
  EXPECT_EQ(File(), bytes_);
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
