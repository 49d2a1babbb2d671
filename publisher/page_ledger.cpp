#include "publisher/page_ledger.h"

#include <algorithm>
#include <utility>

#include "ltx/base/check.h"

namespace runnel::publisher {

PageLedger::PageLedger(std::unique_ptr<ltx::PageTable> table)
    : table_(std::move(table)), position_(table_->position()), page_count_(table_->page_count()) {}

Checksum PageLedger::PageChecksum(Pgno pgno) const {
  if (pgno.raw() > page_count_) return Checksum();
  auto found = overlay_.find(pgno.raw());
  return found != overlay_.end() ? found->second.checksum : table_->Get(pgno).checksum;
}

Checksum PageLedger::Apply(const InflightCommit& commit) const {
  Checksum sum = position_.checksum.valid() ? position_.checksum : Checksum::Empty();
  for (const InflightCommit::PageChange& change : commit.pages) {
    Checksum old = PageChecksum(change.pgno);
    if (old.valid()) sum = sum.Toggle(old);
    sum = sum.Toggle(change.checksum);
  }
  const Pgno lock_page = LockPage(table_->page_size());
  for (uint32_t pgno = commit.page_count + 1; pgno <= page_count_; ++pgno) {
    Checksum old = PageChecksum(Pgno(pgno));
    if (old.valid() && Pgno(pgno) != lock_page) sum = sum.Toggle(old);
  }
  return sum;
}

void PageLedger::AddToOverlay(const InflightCommit& commit, uint64_t serial) {
  for (const InflightCommit::PageChange& change : commit.pages) {
    overlay_[change.pgno.raw()] = Overlay{change.checksum, serial};
  }
}

Status PageLedger::Push(InflightCommit commit) {
  CHECK(commit.position.txid > position_.txid, "commits are pushed in order");
  TRY(table_->Reserve(Pgno(std::max(commit.page_count, uint32_t{1}))));
  // Pages that leave must read as absent when the database grows again, also while both commits are in flight.
  uint64_t serial = first_serial_ + inflight_.size();
  for (uint32_t pgno = commit.page_count + 1; pgno <= page_count_; ++pgno) {
    overlay_[pgno] = Overlay{Checksum(), serial};
  }
  AddToOverlay(commit, serial);
  position_ = commit.position;
  page_count_ = commit.page_count;
  inflight_.push_back(std::move(commit));
  return Ok();
}

const InflightCommit* PageLedger::Release(Txid txid) {
  bool released = false;
  while (!inflight_.empty() && inflight_.front().position.txid <= txid) {
    InflightCommit& commit = inflight_.front();
    uint32_t old_count = table_->page_count();
    for (const InflightCommit::PageChange& change : commit.pages) {
      table_->Set(change.pgno, change.checksum, commit.position.txid);
      auto found = overlay_.find(change.pgno.raw());
      if (found != overlay_.end() && found->second.serial == first_serial_) overlay_.erase(found);
    }
    if (commit.page_count < old_count) {
      table_->Truncate(commit.page_count, commit.position.txid);
      for (uint32_t pgno = commit.page_count + 1; pgno <= old_count; ++pgno) {
        auto found = overlay_.find(pgno);
        if (found != overlay_.end() && found->second.serial == first_serial_) overlay_.erase(found);
      }
    }
    table_->SetPosition(commit.position, commit.page_count);
    released_ = std::move(commit);
    inflight_.pop_front();
    ++first_serial_;
    released = true;
  }
  return released ? &released_ : nullptr;
}

const InflightCommit* PageLedger::Rewind(Txid txid) {
  while (!inflight_.empty() && inflight_.back().position.txid > txid) inflight_.pop_back();
  overlay_.clear();
  position_ = table_->position();
  page_count_ = table_->page_count();
  uint64_t serial = first_serial_;
  for (const InflightCommit& commit : inflight_) {
    for (uint32_t pgno = commit.page_count + 1; pgno <= page_count_; ++pgno)
      overlay_[pgno] = Overlay{Checksum(), serial};
    AddToOverlay(commit, serial);
    position_ = commit.position;
    page_count_ = commit.page_count;
    ++serial;
  }
  return inflight_.empty() ? nullptr : &inflight_.back();
}

}  // namespace runnel::publisher
