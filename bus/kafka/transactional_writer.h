// The leader's end of a Kafka log with `fencing=transactional`: everything that has come since the last commit goes out
// as one transaction. Displaced records (bus/kafka/plain_writer.h says what that is) are aborted, so they never even
// show up as litter, and a writer that was fenced by another transactional one is told so by the broker. It costs 5-15
// ms a message instead of 0.3.
//
// error(): as PlainWriter. "Fenced" in the words of Kafka is no proof of another leader: a producer that slept longer
// than its transaction's time-out gets it as well.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"
#include "bus/kafka/producer.h"
#include "bus/kafka/seat.h"
#include "bus/kafka/window.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

class TransactionalWriter : public LogWriter {
 public:
  // LIFETIME: the inspector outlives the writer.
  TransactionalWriter(Inspector& inspector, std::unique_ptr<Producer> producer, const Place& place,
                      const WriterOptions& options);
  ~TransactionalWriter() override;

  Status Append(std::string payload, std::stop_token stop) override;
  uint64_t acked() const override { return window_.acked(); }
  StreamSeq acked_seq() const override { return window_.acked_seq(); }
  Status error() const override { return window_.error(); }
  Status WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) override {
    return window_.WaitAcked(count, deadline, stop);
  }
  uint64_t payload_bytes_max() const override { return place_.payload_bytes_max; }

 private:
  using Batch = std::vector<std::string>;

  void CommitLoop(std::stop_token stop);
  Batch TakeBatch(std::stop_token stop) EXCLUDES_LOCK(mutex_);
  Status CommitBatch(std::stop_token stop);
  // Sends the batch in an open transaction. False: it is displaced.
  Result<bool> SendBatch();

  const Place place_;
  Inspector& inspector_;
  Window window_;
  Mutex mutex_;
  CondVar queued_;
  std::deque<std::string> queue_ GUARDED_BY(mutex_);
  // Of the committing thread. No other thread polls the producer: then a commit sleeps in steps of 10 ms (measured).
  Offset next_;
  RecordId last_;  // our last record that counts, or what the takeover found
  Batch batch_;    // the producer sends from here; a batch that failed stays until the producer is gone
  const std::unique_ptr<Producer> producer_;
  std::jthread thread_;
};

// Waits until every reader can see the record at `last`: a commit is decided before its control record is written, and
// what was acknowledged must be there for a fresh reader. Errors: kUnavailable.
Status AwaitVisible(Inspector& inspector, Offset last, std::stop_token stop);

}  // namespace runnel::bus::kafka
