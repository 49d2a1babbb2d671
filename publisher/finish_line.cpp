#include "publisher/finish_line.h"

#include <algorithm>

namespace runnel::publisher {
namespace {

// Each costs the writer two fsyncs. A WAL that grows on costs it more than a few of them, and less than many.
constexpr uint32_t kCheckpointsMax = 16;
// So far beyond the usual size: this application does not checkpoint, or not there, or a reader of its own keeps the
// WAL.
constexpr uint32_t kLateFrames = 500;
constexpr uint32_t kAgainFrames = 2000;  // then it is tried again
// A larger checkpoint is one that came late, not a size to wait for.
constexpr uint32_t kUsualMax = 4 * kAutocheckpointFrames;

}  // namespace

void FinishLine::NewRound() {
  given_up_ = false;
  checkpoints_ = 0;
  begun_at_ = 0;
  backfill_ = 0;
  mx_frame_ = 0;
}

void FinishLine::See(bool syncing, uint32_t mx_frame, uint32_t backfill) {
  const bool checkpointed = backfill > backfill_;
  syncing_ = syncing;
  mx_frame_ = mx_frame;
  backfill_ = backfill;
  if (given_up_ && mx_frame - begun_at_ >= kAgainFrames) {
    given_up_ = false;
    checkpoints_ = 0;
    begun_at_ = mx_frame;
  }
  if (!awaited()) return;
  if (checkpointed && ++checkpoints_ == 1 && backfill <= kUsualMax) usual_ = backfill;
  const uint32_t latest = std::max({usual_, kAutocheckpointFrames, begun_at_}) + kLateFrames;
  if (checkpoints_ <= kCheckpointsMax && mx_frame <= latest) return;
  given_up_ = true;
  begun_at_ = mx_frame;
  ++times_given_up_;
}

}  // namespace runnel::publisher
