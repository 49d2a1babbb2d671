// A captured database, a feed over it and a mirror of the feed: one step at a time, compared with SELECT.
#pragma once

#include <memory>
#include <string>

#include "tests/unit/feed/captured_db.h"
#include "tests/unit/feed/mirror.h"

namespace runnel::testing {

class FeedHarness {
 public:
  FeedHarness(CapturedDb& db, feed::FeedOptions options, bool drop_equal_pages = false);

  // Feeds what was committed since; "" or what is wrong. `merged`: several commits as one.
  std::string Step(bool merged = false);
  // "" when the kept page map equals one built afresh.
  std::string VerifyMap() const;

  // Each commit is also fed `copies` times with damaged pages: it must be refused or answered, and the feed must not
  // move.
  void Damage(int copies, Random& random) {
    damaged_copies_ = copies;
    random_ = &random;
  }

  const feed::Feed& feed() const { return *feed_; }
  uint64_t commits() const { return commits_; }
  const Mirror& mirror() const { return mirror_; }
  // What the last step reported.
  uint64_t last_row_changes() const { return last_rows_; }
  uint64_t last_inserts = 0, last_updates = 0, last_deletes = 0;

 private:
  std::string Feed(const CapturedCommit& commit);
  void FeedDamaged(const CapturedCommit& commit);

  CapturedDb& db_;
  const bool drop_equal_pages_;
  std::unique_ptr<feed::Feed> feed_;
  Mirror mirror_;
  uint64_t commits_ = 0;
  uint64_t last_rows_ = 0;
  int damaged_copies_ = 0;
  Random* random_ = nullptr;
};

feed::FeedOptions EveryTable();

}  // namespace runnel::testing
