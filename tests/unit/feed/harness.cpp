#include "tests/unit/feed/harness.h"

#include <utility>

#include "ltx/base/check.h"

namespace runnel::testing {

feed::FeedOptions EveryTable() {
  feed::FeedOptions options;
  options.wants = [](const feed::TableDef&) { return true; };
  return options;
}

FeedHarness::FeedHarness(CapturedDb& db, feed::FeedOptions options, bool drop_equal_pages)
    : db_(db), drop_equal_pages_(drop_equal_pages) {
  sqlite::MemorySource image(db.image(), db.page_size());
  Result<std::unique_ptr<feed::Feed>> opened = feed::Feed::Open(image, std::move(options));
  CHECK(opened.ok(), opened.error().message());
  feed_ = std::move(*opened);
}

std::string FeedHarness::Step(bool merged) {
  uint64_t rows_before = mirror_.row_changes;
  last_inserts = last_updates = last_deletes = 0;
  for (CapturedCommit& commit : db_.Take(merged)) {
    if (drop_equal_pages_) {
      std::erase_if(commit.pages, [this](const auto& page) {
        size_t offset = size_t{page.first.raw() - 1} * db_.page_size();
        return offset + page.second.size() <= db_.image().size() &&
               AsText(db_.image().subspan(offset, page.second.size())) == page.second;
      });
    }
    std::string wrong = Feed(commit);
    if (!wrong.empty()) return wrong;
    db_.Apply(commit);
    ++commits_;
  }
  last_rows_ = mirror_.row_changes - rows_before;
  std::set<std::string> unreadable;
  Tables want = SelectAll(db_, unreadable);
  return Difference(mirror_.tables(), want, unreadable);
}

std::string FeedHarness::Feed(const CapturedCommit& commit) {
  if (damaged_copies_ > 0) FeedDamaged(commit);
  sqlite::MemorySource before(db_.image(), db_.page_size());
  sqlite::OverlaySource after(before, commit.page_count);
  std::vector<Pgno> pages;
  for (const auto& page : commit.pages) {
    pages.push_back(page.first);
    after.Put(page.first, AsBytes(page.second));
  }
  auto begun = feed_->Begin({Txid(commits_ + 1), before, after, pages});
  if (!begun.ok()) return begun.error().message();
  feed::Transaction& transaction = **begun;
  feed::Change change;
  uint64_t ordinal = 0;
  while (true) {
    Result<bool> more = transaction.Next(change);
    if (!more.ok()) return more.error().message();
    if (!*more) break;
    if (change.ordinal != ++ordinal) return "an ordinal out of turn";
    std::string wrong = mirror_.Apply(change);
    if (!wrong.empty()) return wrong;
    if (change.row == nullptr) continue;
    ++(change.row->op == feed::RowChange::Op::kInsert   ? last_inserts
       : change.row->op == feed::RowChange::Op::kUpdate ? last_updates
                                                        : last_deletes);
  }
  mirror_.EndCommit();
  transaction.Finish();
  return "";
}

void FeedHarness::FeedDamaged(const CapturedCommit& commit) {
  for (int copy = 0; copy < damaged_copies_; ++copy) {
    CapturedCommit damaged = commit;
    for (uint64_t n = 1 + random_->Below(2); n > 0; --n) {
      auto page = std::next(damaged.pages.begin(), static_cast<std::ptrdiff_t>(random_->Below(damaged.pages.size())));
      for (uint64_t m = 1 + random_->Below(4); m > 0; --m) {
        size_t offset = random_->Chance(60) ? random_->Below(100) + (page->first.raw() == 1 ? 100 : 0)
                                            : random_->Below(db_.page_size());
        char& byte = page->second[offset];
        byte = static_cast<char>(random_->Chance(50) ? random_->Word()
                                                     : static_cast<uint64_t>(byte) ^ 1u << random_->Below(8));
      }
    }
    sqlite::MemorySource before(db_.image(), db_.page_size());
    sqlite::OverlaySource after(before, damaged.page_count);
    std::vector<Pgno> pages;
    for (const auto& page : damaged.pages) {
      pages.push_back(page.first);
      after.Put(page.first, AsBytes(page.second));
    }
    auto begun = feed_->Begin({Txid(commits_ + 1), before, after, pages});
    feed::Change change;
    while (begun.ok()) {
      Result<bool> more = (*begun)->Next(change);
      if (!more.ok() || !*more) break;
    }
  }
}

std::string FeedHarness::VerifyMap() const {
  sqlite::MemorySource image(db_.image(), db_.page_size());
  Status same = feed_->Verify(image);
  return same.ok() ? "" : same.error().message();
}

}  // namespace runnel::testing
