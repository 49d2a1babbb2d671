// The leader's end of a Kafka log: an idempotent producer that sends each message as it comes. Made by
// KafkaLog::TakeOver.
//
// How I2 and I3 of bus.h hold: each record is stamped with the offset it is meant for (bus/kafka/stamp.h), one more
// than the record before it. When the broker says of one that it lies elsewhere, somebody's record has come in between:
// this one and all sent behind it count for no reader. If another writer leads (a record that counts lies behind ours)
// the writer is dead: kConflict. If it was only litter, a late record of a writer that was fenced, everything not
// acknowledged is sent once more behind it, with new stamps: what is displaced stays displaced, so nothing can count
// twice.
//
// I1  Records go out in the order of their numbers and none is left out, also in failures: messages have no time-out of
// their own
//     (the writer has), a failure stops the producer (enable.gapless.guarantee), and after the first failure nothing is
//     sent. A gap could be filled by a stranger's record, and what lies behind it would count.
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
#include "bus/kafka/producer.h"
#include "bus/kafka/seat.h"
#include "bus/kafka/window.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

class PlainWriter : public LogWriter {
 public:
  // LIFETIME: the inspector outlives the writer.
  PlainWriter(Inspector& inspector, std::unique_ptr<Producer> producer, const Place& place,
              const WriterOptions& options);
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
  Status SendLocked(uint64_t number) REQUIRES_LOCK(mutex_);
  void OnDelivery(const Producer::Delivery& delivery);
  void PollLoop(std::stop_token stop);
  Status HandleFailure(std::stop_token stop);
  Status Reseat(const std::string& symptom, std::stop_token stop);
  Status CheckAge() EXCLUDES_LOCK(mutex_);
  void UseProducer(std::unique_ptr<Producer> producer) EXCLUDES_LOCK(mutex_);

  const Place place_;
  Inspector& inspector_;
  const Producer::Options producer_options_;
  Window window_;

  // Of the polling thread.
  RecordId last_;  // our last record that counts, or what the takeover found
  uint64_t acked_ = 0;
  uint64_t acked_since_told_ = 0;
  int reseats_ = 0;  // since the last acknowledgement
  std::optional<Producer::Delivery> failure_;

  // Sending is queueing inside librdkafka: short enough to do under the lock, which keeps numbers, stamps and order
  // together.
  Mutex mutex_;
  bool sending_ GUARDED_BY(mutex_) = true;    // else messages are only stored
  uint64_t appended_ GUARDED_BY(mutex_) = 0;  // messages have numbers from 1
  Offset base_ GUARDED_BY(mutex_);            // message n is meant for offset base_ + n
  RecordId previous_ GUARDED_BY(mutex_);      // the record sent last
  std::deque<std::string> payloads_
      GUARDED_BY(mutex_);                       // not acknowledged; the producer sends from here, elements do not move
  SteadyTime oldest_since_ GUARDED_BY(mutex_);  // since when payloads_.front() is the oldest
  // Replaced by the polling thread, under the lock; so that thread reads it without. Below the payloads: it goes before
  // them.
  std::unique_ptr<Producer> producer_;
  std::jthread thread_;
};

}  // namespace runnel::bus::kafka
