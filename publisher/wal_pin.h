// Read pins as raw wal-index locks: what keeps frames in the WAL until they are durable elsewhere.
//
// A pin is a SHARED lock on one of SQLite's five read slots, taken through a borrowed connection. What it freezes
// depends on the slot and on the mark in it:
//
//   kind     slot   taken when            freezes                        lets happen
//   kZero    0      all is backfilled     backfill                       one reset, exactly at mx_frame
//   kMark    1..4   mx_frame > 0          the WAL from being reset,      backfill up to the mark
//                                         backfill beyond the mark
//   kNomark  2..4   mx_frame > 0          the WAL from being reset       all backfill
//
// Pin lemma: a pin on 1..4 keeps every frame of its salts; a pin on 0 keeps every frame committed after mx_frame, also
// those of the WAL that follows the one reset, because nothing of it can be backfilled and so it cannot be reset again.
//
// Slot 1 never becomes NOT_USED: a reader of a read-only wal-index cannot set marks and needs one that is not beyond
// mx_frame.
#pragma once

#include <cstdint>
#include <optional>

#include "ltx/sqlite/live/live_db.h"
#include "ltx/sqlite/wal_index.h"

namespace runnel::publisher {

enum class PinKind { kNone, kZero, kMark, kNomark };

struct Pin {
  int slot = -1;
  uint32_t mark = 0;      // of slots 1..4
  uint32_t mx_frame = 0;  // of the header it was taken under
  uint32_t salt[2] = {0, 0};

  PinKind kind() const {
    if (slot < 0) return PinKind::kNone;
    if (slot == 0) return PinKind::kZero;
    return mark == sqlite::kReadMarkNotUsed ? PinKind::kNomark : PinKind::kMark;
  }
};

// Owns the pin of one database. A new pin is a candidate next to the old one until Adopt (hand over hand) or Discard.
// THREAD: that of the LiveDb.
class PinHolder {
 public:
  // LIFETIME: `locks` outlives the holder; nobody else takes its read slots.
  explicit PinHolder(sqlite::LiveDb& locks) : locks_(locks) {}

  const Pin& pin() const { return pin_; }

  // Candidates: the lock is held, `header` is what the pin was checked against. nullopt: not now.
  // kZero needs backfill == mx_frame.
  std::optional<Pin> TakeZero(sqlite::WalIndexHeader& header);
  // Takes slot 0, which we hold, anew: as TakeZero without changing a lock. False: not all is backfilled.
  bool RenewZero(sqlite::WalIndexHeader& header);
  // kMark or kNomark on a slot other than the one we hold. `exact`: nothing was committed while it was taken, so that
  // the pin names one image; kNomark is never exact.
  std::optional<Pin> TakeHigh(PinKind kind, bool exact, sqlite::WalIndexHeader& header);

  void Adopt(const Pin& candidate);  // drops the old pin
  void Discard(const Pin& candidate);

  uint64_t shared_marks() const { return shared_marks_; }

 private:
  bool AllBackfilled(const sqlite::WalIndexHeader& header) const;
  bool TrySlot(int slot, uint32_t mark, bool exact, const sqlite::WalIndexHeader& header);
  int ClaimSlot(PinKind kind, bool exact, const sqlite::WalIndexHeader& header);
  int ShareSlot(bool exact, const sqlite::WalIndexHeader& header);

  sqlite::LiveDb& locks_;
  Pin pin_;
  uint64_t shared_marks_ = 0;
};

}  // namespace runnel::publisher
