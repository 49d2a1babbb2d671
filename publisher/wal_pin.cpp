#include "publisher/wal_pin.h"

#include <cstring>

#include "ltx/base/check.h"

namespace runnel::publisher {

using sqlite::LockRead;
using sqlite::WalIndexHeader;

namespace {

bool SameHeader(const WalIndexHeader& a, const WalIndexHeader& b) { return std::memcmp(&a, &b, sizeof a) == 0; }

Pin MakePin(int slot, uint32_t mark, const WalIndexHeader& header) {
  return Pin{.slot = slot, .mark = mark, .mx_frame = header.max_frame, .salt = {header.salt[0], header.salt[1]}};
}

}  // namespace

// REQUIRES: slot 0 is held. That this header was current, and all of it copied, at one instant under the lock.
bool PinHolder::AllBackfilled(const WalIndexHeader& header) const {
  locks_.Barrier();
  WalIndexHeader now;
  return locks_.TryReadHeader(now) && SameHeader(now, header) && locks_.backfill() == header.max_frame;
}

std::optional<Pin> PinHolder::TakeZero(WalIndexHeader& header) {
  CHECK(pin_.slot != 0, "slot 0 is already held");
  if (!locks_.ReadHeader(header) || locks_.backfill() != header.max_frame) return std::nullopt;
  if (!locks_.TryShared(LockRead(0))) return std::nullopt;  // a checkpointer is copying
  if (!AllBackfilled(header)) {
    locks_.UnlockShared(LockRead(0));
    return std::nullopt;
  }
  return MakePin(0, 0, header);
}

bool PinHolder::RenewZero(WalIndexHeader& header) {
  CHECK(pin_.slot == 0, "slot 0 is not held");
  if (!locks_.ReadHeader(header) || !AllBackfilled(header)) return false;
  pin_ = MakePin(0, 0, header);
  return true;
}

// SHARED, then the re-check of walTryBeginRead: the mark and the salts are still those we decided on.
bool PinHolder::TrySlot(int slot, uint32_t mark, bool exact, const WalIndexHeader& header) {
  constexpr int kTries = 20;
  if (!locks_.TryShared(LockRead(slot))) return false;
  locks_.Barrier();
  WalIndexHeader now;
  if (locks_.read_mark(slot) == mark && locks_.ReadHeader(now, kTries) && sqlite::SameSalt(now.salt, header.salt) &&
      (!exact || SameHeader(now, header))) {
    return true;
  }
  locks_.UnlockShared(LockRead(slot));
  return false;
}

// A slot that already has the mark we want, else one that nobody uses.
int PinHolder::ClaimSlot(PinKind kind, bool exact, const WalIndexHeader& header) {
  auto wanted = [&](int slot) {
    return kind == PinKind::kNomark && slot > 1 ? sqlite::kReadMarkNotUsed : header.max_frame;
  };
  for (int slot = 4; slot >= 1; --slot) {
    if (slot == pin_.slot || (kind == PinKind::kNomark && slot == 1)) continue;
    if (locks_.read_mark(slot) == wanted(slot) && TrySlot(slot, wanted(slot), exact, header)) return slot;
  }
  for (int slot = 4; slot >= 1; --slot) {
    if (slot == pin_.slot || !locks_.TryExclusive(LockRead(slot))) continue;
    locks_.set_read_mark(slot, wanted(slot));
    locks_.UnlockExclusive(LockRead(slot));
    if (TrySlot(slot, wanted(slot), exact, header)) return slot;
  }
  return 0;
}

// Readers of the application hold all slots: sit on the largest mark among them, as a reader of SQLite would.
int PinHolder::ShareSlot(bool exact, const WalIndexHeader& header) {
  uint32_t best_mark = pin_.slot > 0 && !exact ? pin_.mark : 0;
  int best = 0;
  for (int slot = 1; slot <= 4; ++slot) {
    uint32_t mark = locks_.read_mark(slot);
    if (slot != pin_.slot && mark <= header.max_frame && mark > best_mark) {
      best = slot;
      best_mark = mark;
    }
  }
  return best != 0 && TrySlot(best, best_mark, exact, header) ? best : 0;
}

std::optional<Pin> PinHolder::TakeHigh(PinKind kind, bool exact, WalIndexHeader& header) {
  CHECK(kind == PinKind::kMark || kind == PinKind::kNomark, "a high pin has a mark or none");
  CHECK(!exact || kind == PinKind::kMark, "a pin without mark names no image");
  // Never on an empty WAL: it would make a TRUNCATE wait for nothing.
  if (!locks_.ReadHeader(header) || header.max_frame == 0) return std::nullopt;
  int slot = ClaimSlot(kind, exact, header);
  if (slot == 0) {
    if (pin_.kind() == PinKind::kNomark && !exact) return std::nullopt;  // frozen already, without limit: keep it
    slot = ShareSlot(exact, header);
    if (slot == 0) return std::nullopt;
    ++shared_marks_;
  }
  return MakePin(slot, locks_.read_mark(slot), header);
}

void PinHolder::Adopt(const Pin& candidate) {
  CHECK(candidate.slot != pin_.slot, "a candidate lives on another slot");
  if (pin_.slot >= 0) locks_.UnlockShared(LockRead(pin_.slot));
  pin_ = candidate;
}

void PinHolder::Discard(const Pin& candidate) { locks_.UnlockShared(LockRead(candidate.slot)); }

}  // namespace runnel::publisher
