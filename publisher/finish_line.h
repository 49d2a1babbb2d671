// When a hot writer's own checkpoint is the moment to let its WAL go. Pure decisions; no locks, no clock, no files.
//
// SQLite's autocheckpoint runs behind a commit, in the writer's thread. Under a pin without mark it copies everything,
// and until that writer's next frame, about ten microseconds later, the WAL may be let go: it starts over at the
// application's own size, just as it does without us, and is neither long nor cold. Whoever is too late costs the
// writer one more checkpoint, at its next commit. So it is tried a few times; then a mark takes over, and the WAL
// grows for a while before it is tried again.
//
// A round is the life of the WAL under one pair of salts.
#pragma once

#include <cstdint>

#include "publisher/pin_policy.h"

namespace runnel::publisher {

class FinishLine {
 public:
  // Once a turn: what the wal-index shows. REQUIRES: called in the order of time.
  // `syncing`: the writer is hot and waits for the disk at each commit, which is what gives us the time.
  void See(bool syncing, uint32_t mx_frame, uint32_t backfill);
  void NewRound();

  // A pin without mark is wanted, and no checkpoint of ours.
  bool awaited() const { return syncing_ && !given_up_; }
  // Frames until a commit may be followed by that checkpoint; 0: each may.
  uint32_t frames_left() const { return usual_ > mx_frame_ ? usual_ - mx_frame_ : 0; }
  // Before the first that may: one that copies a whole WAL takes long enough to be ready in time, and the small ones
  // behind it, if that is missed, hardly do.
  bool near() const { return awaited() && frames_left() <= kNearFrames; }

  uint64_t given_up() const { return times_given_up_; }

 private:
  static constexpr uint32_t kNearFrames = 16;

  bool syncing_ = false;
  bool given_up_ = false;
  uint32_t mx_frame_ = 0;
  uint32_t backfill_ = 0;
  uint32_t usual_ = kAutocheckpointFrames;  // at which the application checkpoints, as far as is known
  uint32_t checkpoints_ = 0;                // of others, seen since it is awaited
  uint32_t begun_at_ = 0;                   // the size at which that began, or was given up
  uint64_t times_given_up_ = 0;
};

}  // namespace runnel::publisher
