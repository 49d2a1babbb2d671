// The leader's end of a Kafka log: sends each message as it comes through a lane of an idempotent producer. Made by
// KafkaLog::TakeOver.
//
// How I2 and I3 of bus.h hold: each record is stamped with the offset it is meant for (bus/kafka/stamp.h), one more
// than the record before it. When the broker says of one that it lies elsewhere, somebody's record has come in between:
// this one and all sent behind it count for no reader. If another writer leads (a record that counts lies behind ours)
// the writer is dead: kConflict. If it was only litter, a late record of a writer that was fenced, everything not
// acknowledged is sent once more behind it, with new stamps: what is displaced stays displaced, so nothing can count
// twice.
//
// Messages go out at once while the broker keeps up; else in groups, each of what came while the one before was on its
// way: the batch window adapts itself to the broker, without a delay of its own. A broker that is further away than a
// millisecond has two groups on their way.
//
// I1  Records go out in the order of their numbers and none is left out, also in failures: messages have no time-out of
// their own
//     (the writer has), a failure stops the producer (enable.gapless.guarantee), and after the first failure nothing is
//     sent until the place is known again. A gap could be filled by a stranger's record, and what lies behind it would
//     count.
// I2  What is on its way when the writer dies may still arrive: displaced, or, if nobody has taken over, as a part of
// the log.
//
// error(): kConflict only as above. Everything else (brokers away, a broken producer) is kUnavailable: the decision of
// the next TakeOver sees the tail and knows.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "bus/bus.h"
#include "bus/kafka/lane.h"
#include "bus/kafka/seat.h"
#include "bus/kafka/window.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

class PlainWriter : public LogWriter {
 public:
  // LIFETIME: the inspector outlives the writer.
  PlainWriter(Inspector& inspector, std::unique_ptr<Lane> lane, const Place& place, const WriterOptions& options);
  ~PlainWriter() override;

  Status Append(std::string payload, std::stop_token stop) override;
  uint64_t acked() const override { return window_.acked(); }
  StreamSeq acked_seq() const override { return window_.acked_seq(); }
  Status error() const override { return window_.error(); }
  Status WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) override {
    return window_.WaitAcked(count, deadline, stop);
  }
  uint64_t payload_bytes_max() const override { return place_.payload_bytes_max; }

 private:
  struct Group {
    uint64_t last = 0;  // number of its last message
    SteadyTime sent_at;
  };
  void Listen(Lane& lane);
  // REQUIRES: not acknowledged yet.
  const std::shared_ptr<const std::string>& PayloadLocked(uint64_t number) const REQUIRES_LOCK(mutex_) {
    return payloads_[payloads_.size() - 1 - (appended_ - number)];
  }
  Status SendLocked(uint64_t number) REQUIRES_LOCK(mutex_);
  // As one group, everything that has come since the last one, unless enough groups are on their way.
  Status SendPendingLocked() REQUIRES_LOCK(mutex_);
  // Events of the lane: note, and return.
  void OnDelivery(const Producer::Delivery& delivery) EXCLUDES_LOCK(mutex_);
  void OnPolled() EXCLUDES_LOCK(mutex_);
  Status CheckAgeLocked() REQUIRES_LOCK(mutex_);
  void Die(Error error) EXCLUDES_LOCK(mutex_);
  // In a thread of its own, while nothing is sent.
  void Repair(const Producer::Delivery& failure, std::stop_token stop) EXCLUDES_LOCK(mutex_);
  Status HandleFailure(const Producer::Delivery& failure, std::stop_token stop) EXCLUDES_LOCK(mutex_);
  Status Reseat(const std::string& symptom, std::stop_token stop) EXCLUDES_LOCK(mutex_);

  const Place place_;
  Inspector& inspector_;
  Window window_;

  // Sending is queueing inside librdkafka: short enough to do under the lock, which keeps numbers, stamps and order
  // together.
  Mutex mutex_;
  bool sending_ GUARDED_BY(mutex_) = true;    // else messages are only stored
  uint64_t appended_ GUARDED_BY(mutex_) = 0;  // messages have numbers from 1
  uint64_t sent_ GUARDED_BY(mutex_) = 0;
  uint64_t acked_ GUARDED_BY(mutex_) = 0;
  std::deque<Group> groups_ GUARDED_BY(mutex_);  // on their way
  uint64_t acked_since_told_ GUARDED_BY(mutex_) = 0;
  Offset base_ GUARDED_BY(mutex_);        // message n is meant for offset base_ + n
  RecordId previous_ GUARDED_BY(mutex_);  // the record sent last
  RecordId last_ GUARDED_BY(mutex_);      // our last record that counts, or what the takeover found
  std::deque<std::shared_ptr<const std::string>> payloads_ GUARDED_BY(mutex_);  // not acknowledged
  SteadyTime oldest_since_ GUARDED_BY(mutex_);  // since when payloads_.front() is the oldest
  int reseats_ GUARDED_BY(mutex_) = 0;          // since the last acknowledgement
  std::optional<Producer::Delivery> failure_ GUARDED_BY(mutex_);
  bool repairing_ GUARDED_BY(mutex_) = false;
  bool dead_ GUARDED_BY(mutex_) = false;
  // Replaced by the repairing thread while nothing is sent.
  std::unique_ptr<Lane> lane_;
  std::jthread repair_;
};

}  // namespace runnel::bus::kafka
