// What every page's checksum is as of the last built commit: the durable page table (as of the last released commit)
// plus an overlay for the commits still on their way to the log. The table therefore never runs ahead of what is
// durable elsewhere, and a bus that loses what is in flight costs no more than forgetting the overlay (Rewind).
//
// Invariants:
//   I1  table().position() is a released position (published or spilled), kept by Release in commit order.
//   I2  position() is that of the newest commit built; it equals the table's when nothing is in flight.
// THREAD: one.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <unordered_map>
#include <vector>

#include "ltx/base/result.h"
#include "ltx/format/page_table.h"
#include "ltx/format/types.h"
#include "publisher/capture_types.h"

namespace runnel::publisher {

// One commit (or range) that was built and is not released yet.
struct InflightCommit {
  Position position;  // after it
  uint32_t page_count = 0;
  WalPosition wal_end;  // where capture stood behind it
  struct PageChange {
    Pgno pgno;
    Checksum checksum;
  };
  std::vector<PageChange> pages;
};

class PageLedger {
 public:
  explicit PageLedger(std::unique_ptr<ltx::PageTable> table);

  Position position() const { return position_; }
  uint32_t page_count() const { return page_count_; }
  ltx::PageTable& table() { return *table_; }
  // Gives the table away; the ledger is dead afterwards.
  std::unique_ptr<ltx::PageTable> TakeTable() { return std::move(table_); }

  // Checksum of a page in the newest built image; 0 if the page is not in it.
  Checksum PageChecksum(Pgno pgno) const;

  // The checksum of the image that results from `commit` (its position is not looked at): pages beyond its page_count
  // leave, its pages replace theirs.
  Checksum Apply(const InflightCommit& commit) const;

  // Takes the commit as the newest one. Errors: kExhausted when the table cannot grow; then nothing has changed.
  Status Push(InflightCommit commit);

  // Everything up to `txid` is durable elsewhere: moves it into the table.
  // Returns the newest commit released by this call, or nullptr when none was; valid until the next call.
  const InflightCommit* Release(Txid txid);

  // Forgets all commits after `txid`. Returns the position and WAL place to go on from; nullptr for the place when the
  // table's own position is the newest one left.
  const InflightCommit* Rewind(Txid txid);

  size_t inflight_commits() const { return inflight_.size(); }
  const InflightCommit* newest_inflight() const { return inflight_.empty() ? nullptr : &inflight_.back(); }

 private:
  struct Overlay {
    Checksum checksum;
    uint64_t serial;  // of the newest in-flight commit that set it
  };
  void AddToOverlay(const InflightCommit& commit, uint64_t serial);

  std::unique_ptr<ltx::PageTable> table_;
  Position position_;
  uint32_t page_count_ = 0;
  std::deque<InflightCommit> inflight_;
  uint64_t first_serial_ = 0;  // of inflight_.front()
  std::unordered_map<uint32_t, Overlay> overlay_;
  InflightCommit released_;
};

}  // namespace runnel::publisher
