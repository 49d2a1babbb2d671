// What a publisher that was taken over from still gets into a log: passed over by whoever reads there, also by those
// who begin in the middle and never see the takeover.
#include <gtest/gtest.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "ltx/base/time.h"
#include "ltx/format/decoder.h"
#include "subscriber/feed_entries.h"
#include "subscriber/log_walk.h"
#include "tests/support/ltx_spec.h"
#include "tests/support/scratch_log.h"
#include "tests/support/temp_dir.h"

namespace runnel::subscriber {
namespace {

using std::chrono::seconds;
using testing::Image;
using testing::LtxSpec;
using testing::Page;

constexpr uint32_t kPageSize = 512;

// A log into which anything can be put, and a database of one page whose commits go there.
class VoidMessages : public ::testing::Test {
 protected:
  // The commit that makes `fill` of the page; of a stranger, the image stays as it was.
  LtxSpec Commit(uint64_t txid, char fill, bool stay = false) {
    LtxSpec spec = image_.Change(txid, {{1, Page(kPageSize, fill)}}, 1);
    if (!stay) image_.Apply(spec);
    return spec;
  }

  void Put(const bus::Lineage& lineage, uint64_t epoch, const LtxSpec& spec) {
    bus::Entry entry;
    entry.min_txid = spec.header.min_txid;
    entry.max_txid = spec.header.max_txid;
    entry.ltx = testing::ToBytes(spec);
    bus::Envelope envelope;
    envelope.header.lineage = lineage;
    envelope.header.epoch = bus::Epoch(epoch);
    envelope.header.database = "app";
    envelope.header.min_txid = entry.min_txid;
    envelope.header.position = {entry.max_txid, spec.trailer.post_apply_checksum};
    envelope.header.page_size = PageSize(kPageSize);
    envelope.body = bus::Commits{{std::move(entry)}};
    log_.Append(std::move(envelope));
    log_.Settle();
  }

  // What a walk from message `seq` on shows: the byte that each file makes of the page.
  std::string Walk(uint64_t seq) {
    std::string seen;
    auto look = [&seen](const WalkedLtx& ltx) -> Result<bool> {
      Result<LtxSpec> spec = testing::FromBytes(ltx.entry.ltx);
      if (spec.ok()) seen += spec->pages.at(1)[0];
      return true;
    };
    const Status walked = WalkLog(log_.log(), bus::StreamSeq(seq), look, {});
    EXPECT_TRUE(walked.ok()) << walked.error().message();
    return seen;
  }

  testing::TempDir dir_;
  testing::ScratchLog log_{dir_.path() / "app"};
  const bus::Lineage lineage_ = bus::Lineage::Random();
  Image image_{kPageSize, {Page(kPageSize, '.')}};
};

TEST_F(VoidMessages, AWalkThatBeginsBehindTheTakeoverPassesThemOver) {
  Put(lineage_, 2, Commit(5, 'a'));
  Put(lineage_, 2, Commit(6, 'b'));
  Put(lineage_, 1, Commit(7, 'X', true));
  Put(lineage_, 2, Commit(7, 'c'));
  EXPECT_EQ(Walk(1), "abc");
  EXPECT_EQ(Walk(2), "bc");
}

TEST_F(VoidMessages, EachHistoryCountsItsOwnEpochs) {
  Put(lineage_, 9, Commit(5, 'a'));
  const bus::Lineage other = bus::Lineage::Random();
  Put(other, 1, Commit(6, 'b'));
  Put(other, 1, Commit(7, 'c'));
  EXPECT_EQ(Walk(1), "abc");
}

// What a feed is shown of the next `messages` ones: the byte that each file makes of the page.
class FeedOfVoidMessages : public VoidMessages {
 protected:
  std::string Feed(const Position& beginning, int messages) {
    Result<std::unique_ptr<FeedEntries>> entries = FeedEntries::Open(log_.log(), lineage_.bytes, beginning, {});
    EXPECT_TRUE(entries.ok()) << entries.error().message();
    if (!entries.ok()) return "";
    std::string seen;
    auto visit = [&seen](const feed::FeedEntry& entry) -> Result<Position> {
      ltx::Decoder decoder(entry.file);
      TRY(decoder.Begin());
      TRY_ASSIGN(const std::optional<ltx::Page> page, decoder.Next());
      seen += static_cast<char>(page->data[0]);
      TRY_ASSIGN(const std::optional<ltx::Page> end, decoder.Next());
      EXPECT_FALSE(end.has_value());
      TRY_ASSIGN(const ltx::Trailer trailer, decoder.Finish());
      return Position{entry.max_txid, trailer.post_apply_checksum};
    };
    for (int message = 0; message < messages; ++message) {
      const Status next = (*entries)->Next(DeadlineIn(seconds(20)), {}, visit);
      EXPECT_TRUE(next.ok()) << next.error().message();
    }
    EXPECT_EQ((*entries)->position().checksum, image_.Sum());
    return seen;
  }
};

TEST_F(FeedOfVoidMessages, OneThatBeginsBehindTheTakeoverPassesThemOver) {
  Put(lineage_, 2, Commit(5, 'a'));
  const Position beginning{Txid(5), image_.Sum()};
  Put(lineage_, 2, Commit(6, 'b'));
  Put(lineage_, 1, Commit(7, 'X', true));
  Put(lineage_, 2, Commit(7, 'c'));
  EXPECT_EQ(Feed(beginning, 3), "bc");
}

TEST_F(FeedOfVoidMessages, OneThatWouldBeginWithOnePassesItOver) {
  Put(lineage_, 2, Commit(5, 'a'));
  const Position beginning{Txid(5), image_.Sum()};
  Put(lineage_, 1, Commit(6, 'X', true));
  Put(lineage_, 2, Commit(6, 'b'));
  EXPECT_EQ(Feed(beginning, 1), "b");
}

}  // namespace
}  // namespace runnel::subscriber
