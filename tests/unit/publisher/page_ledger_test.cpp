#include "publisher/page_ledger.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/support/temp_dir.h"

namespace runnel::publisher {
namespace {

// The ledger against a plain map: commits pushed, released and rewound at random must always give the same checksums.
class PageLedgerTest : public ::testing::Test {
 protected:
  using Image = std::map<uint32_t, Checksum>;

  void SetUp() override {
    auto table = ltx::PageTable::Create((dir_.path() / "pages").string(), PageSize(4096));
    ASSERT_TRUE(table.ok()) << table.error().message();
    ledger_ = std::make_unique<PageLedger>(std::move(*table));
    images_.push_back({});
  }

  static Checksum Sum(const Image& image) {
    Checksum sum = Checksum::Empty();
    for (const auto& [pgno, checksum] : image) sum = sum.Toggle(checksum);
    return sum;
  }

  // A commit that writes `count` random pages and leaves `page_count` pages; new pages are always written.
  void Commit(uint32_t page_count, int count) {
    Image image = images_.back();
    InflightCommit commit;
    commit.page_count = page_count;
    std::map<uint32_t, Checksum> writes;
    for (uint32_t pgno = static_cast<uint32_t>(image.size()) + 1; pgno <= page_count; ++pgno) writes[pgno] = Random();
    for (int i = 0; i < count && page_count > 0; ++i) writes[1 + random_() % page_count] = Random();
    for (const auto& [pgno, checksum] : writes) {
      commit.pages.push_back({Pgno(pgno), checksum});
      image[pgno] = checksum;
    }
    image.erase(image.upper_bound(page_count), image.end());
    Checksum after = ledger_->Apply(commit);
    EXPECT_EQ(after, Sum(image));
    commit.position = {Txid(images_.size()), after};
    commit.wal_end.frame = static_cast<uint32_t>(images_.size());
    ASSERT_TRUE(ledger_->Push(std::move(commit)).ok());
    images_.push_back(std::move(image));
  }

  void ExpectImage(const Image& image) {
    EXPECT_EQ(ledger_->page_count(), image.size());
    for (const auto& [pgno, checksum] : image)
      EXPECT_EQ(ledger_->PageChecksum(Pgno(pgno)), checksum) << "page " << pgno;
    EXPECT_EQ(ledger_->PageChecksum(Pgno(static_cast<uint32_t>(image.size()) + 1)), Checksum());
  }

  Checksum Random() { return Checksum(Checksum::kFlag | random_()); }

  runnel::testing::TempDir dir_;
  std::mt19937_64 random_{20261121};
  std::unique_ptr<PageLedger> ledger_;
  std::vector<Image> images_;  // by TXID
};

TEST_F(PageLedgerTest, TableStaysAtTheReleasedCommitWhileLaterOnesAreInFlight) {
  Commit(3, 0);
  Commit(5, 2);
  const InflightCommit* released = ledger_->Release(Txid(1));
  ASSERT_NE(released, nullptr);
  EXPECT_EQ(released->wal_end.frame, 1u);
  EXPECT_EQ(ledger_->table().position().txid, Txid(1));
  EXPECT_TRUE(ledger_->table().Verify());
  ExpectImage(images_[2]);
  EXPECT_EQ(ledger_->Release(Txid(1)), nullptr);
}

TEST_F(PageLedgerTest, RewindForgetsWhatTheLogNeverGot) {
  Commit(4, 0);
  Commit(2, 1);
  Commit(6, 3);
  ledger_->Release(Txid(1));
  ledger_->Rewind(Txid(2));
  EXPECT_EQ(ledger_->position().txid, Txid(2));
  ExpectImage(images_[2]);
  images_.resize(3);
  Commit(8, 4);
  ExpectImage(images_[3]);
}

TEST_F(PageLedgerTest, AgreesWithAPlainMapOverRandomHistories) {
  for (int step = 0; step < 3000; ++step) {
    uint64_t last = images_.size() - 1;
    uint64_t released = ledger_->table().position().txid.raw();
    switch (random_() % 8) {
      case 0: ledger_->Release(Txid(released + random_() % (last - released + 1))); break;
      case 1: {
        uint64_t to = released + random_() % (last - released + 1);
        ledger_->Rewind(Txid(to));
        images_.resize(to + 1);
        break;
      }
      default: Commit(static_cast<uint32_t>(1 + random_() % 40), static_cast<int>(random_() % 6));
    }
    ASSERT_EQ(ledger_->position().txid.raw(), images_.size() - 1);
    if (step % 50 == 0) ExpectImage(images_.back());
    ASSERT_TRUE(ledger_->table().position().txid == Txid() || ledger_->table().Verify()) << "step " << step;
  }
}

}  // namespace
}  // namespace runnel::publisher
