// The leader's end of a Kafka log with `fencing=transactional`: everything that has come since the last commit goes out
// as one transaction. Displaced records (bus/kafka/plain_writer.h says what that is) are aborted, so they never even
// show up as litter, and a writer that was fenced by another transactional one is told so by the broker. It costs 5-15
// ms a message instead of 0.3.
//
// The threads that commit, and the producers, are bounded for a process (bus/kafka/transaction_pool.h): a writer may
// rest without a producer. Before it opens another it looks whether it still leads, so that a zombie does not fence its
// successor.
//
// error(): as PlainWriter. "Fenced" in the words of Kafka is no proof of another leader: a producer that slept longer
// than its transaction's time-out gets it as well.
#pragma once

#include <deque>
#include <memory>
#include <stop_token>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/kafka/producer.h"
#include "bus/kafka/seat.h"
#include "bus/kafka/transaction_pool.h"
#include "bus/kafka/window.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

class TransactionalWriter : public LogWriter, private TransactionPool::Member {
 public:
  // LIFETIME: the inspector outlives the writer.
  TransactionalWriter(Inspector& inspector, std::unique_ptr<TransactionPool::Seat> seat,
                      std::unique_ptr<Producer> producer, const Place& place, const WriterOptions& options);
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

  bool Turn() override EXCLUDES_LOCK(mutex_);
  void Rest() override;
  Batch TakeBatch() EXCLUDES_LOCK(mutex_);
  // Behind a rest: a new seat and a new producer, unless another writer leads by now.
  Status WakeUp(std::stop_token stop);
  Status CommitBatch(std::stop_token stop);
  // Sends the batch in an open transaction. False: it is displaced.
  Result<bool> SendBatch();

  const Place place_;
  const Producer::Options producer_options_;
  Inspector& inspector_;
  const std::shared_ptr<TransactionPool> pool_;
  Window window_;
  std::stop_source stop_;
  Mutex mutex_;
  std::deque<std::string> queue_ GUARDED_BY(mutex_);
  // Of the turn. No other thread polls the producer meanwhile: then a commit sleeps in steps of 10 ms (measured).
  bool dead_ = false;
  Offset next_;
  RecordId last_;  // our last record that counts, or what the takeover found
  Batch batch_;    // the producer sends from here; a batch that failed stays until the producer is gone
  std::unique_ptr<TransactionPool::Seat> seat_;
  std::unique_ptr<Producer> producer_;
};

// Waits until every reader can see the record at `last`: a commit is decided before its control record is written, and
// what was acknowledged must be there for a fresh reader. Errors: kUnavailable.
Status AwaitVisible(Inspector& inspector, Offset last, std::stop_token stop);

}  // namespace runnel::bus::kafka
