// The rule by which every reader of a log keeps to one leadership after another: behind a message of some epoch, what
// carries an older epoch of the same lineage is void. A publisher that was taken over from may have got it in late.
#pragma once

#include "bus/envelope.h"

namespace runnel::bus {

// What has been read so far, as far as the rule needs it. THREAD: one.
class EpochFence {
 public:
  EpochFence() = default;
  // Begins where some message before had this epoch.
  EpochFence(const Lineage& lineage, Epoch epoch) : lineage_(lineage), epoch_(epoch) {}

  // The next message's header: false when the message is void, else its epoch counts from here on. Markers need not be
  // seen: any message tells its epoch. Another lineage counts its own.
  bool Admits(const Header& header) {
    if (header.lineage == lineage_ && header.epoch < epoch_) return false;
    lineage_ = header.lineage;
    epoch_ = header.epoch;
    return true;
  }

 private:
  Lineage lineage_;
  Epoch epoch_;
};

}  // namespace runnel::bus
