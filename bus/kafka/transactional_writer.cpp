#include "bus/kafka/transactional_writer.h"

#include <fmt/format.h>

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

// One transaction: large enough that its fixed cost (5-25 ms) does not matter, small enough that readers do not wait
// long.
constexpr size_t kBatchMessagesMax = 2000;
constexpr uint64_t kBatchBytesMax = 8 << 20;
constexpr milliseconds kVisiblePoll(1);
// A log that moves each time we sit down again is not ours to fix.
constexpr int kReseatsMax = 10;

}  // namespace

Status AwaitVisible(Inspector& inspector, Offset last, std::stop_token stop) {
  const SteadyTime deadline = DeadlineIn(inspector.endpoint().timeout);
  while (true) {
    TRY_ASSIGN(const Watermarks marks, inspector.Marks());
    if (marks.end > last) return Ok();
    if (TimeLeft(deadline) == milliseconds(0)) {
      return Error(Errc::kUnavailable, fmt::format("topic {}: a transaction that was committed does not become visible",
                                                   inspector.endpoint().topic));
    }
    TRY(SleepUntil(DeadlineIn(kVisiblePoll), stop));
  }
}

TransactionalWriter::TransactionalWriter(Inspector& inspector, std::unique_ptr<TransactionPool::Seat> seat,
                                         std::unique_ptr<Producer> producer, const Place& place,
                                         const WriterOptions& options)
    : place_(place),
      producer_options_(producer->options()),
      inspector_(inspector),
      pool_(inspector.cluster().transactions()),
      window_(options, StreamSeq(place.previous.seq), inspector.endpoint().topic),
      next_(place.next),
      last_(place.previous),
      seat_(std::move(seat)),
      producer_(std::move(producer)) {
  pool_->Add(*this);
}

TransactionalWriter::~TransactionalWriter() {
  stop_.request_stop();
  pool_->Remove(*this);
}

Status TransactionalWriter::Append(std::string payload, std::stop_token stop) {
  if (payload.size() > place_.payload_bytes_max) {
    return Error(Errc::kInvalid, fmt::format("message of {} bytes, topic {} takes {}", payload.size(),
                                             inspector_.endpoint().topic, place_.payload_bytes_max));
  }
  TRY(window_.Admit(payload.size(), stop));
  {
    const MutexLock lock(mutex_);
    queue_.push_back(std::move(payload));
  }
  pool_->Schedule(*this);
  return Ok();
}

TransactionalWriter::Batch TransactionalWriter::TakeBatch() {
  Batch batch;
  uint64_t bytes = 0;
  const MutexLock lock(mutex_);
  while (!queue_.empty() && batch.size() < kBatchMessagesMax && bytes < kBatchBytesMax) {
    bytes += queue_.front().size();
    batch.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return batch;
}

bool TransactionalWriter::Turn() {
  if (dead_ || stop_.stop_requested()) return false;
  batch_ = TakeBatch();
  if (batch_.empty()) return false;
  const std::stop_token stop = stop_.get_token();
  Status committed = producer_ == nullptr ? WakeUp(stop) : Ok();
  if (committed.ok()) committed = CommitBatch(stop);
  if (!committed.ok()) {
    dead_ = true;
    window_.Fail(committed.error());
    return false;
  }
  const MutexLock lock(mutex_);
  return !queue_.empty();
}

void TransactionalWriter::Rest() {
  producer_.reset();
  seat_.reset();
}

Status TransactionalWriter::WakeUp(std::stop_token stop) {
  TRY_ASSIGN(seat_, pool_->TakeSeat(stop));
  Displaced asks;
  asks.last = last_;
  asks.leadership = place_.leadership;
  asks.ours_in_log = last_.leadership == place_.leadership;
  asks.symptom = fmt::format("topic {}: going on after a rest", inspector_.endpoint().topic);
  TRY_ASSIGN(next_, FindSeat(inspector_, asks, stop));
  Result<std::unique_ptr<Producer>> opened = Producer::Open(inspector_.endpoint(), producer_options_);
  if (!opened.ok()) return opened.error();
  producer_ = *std::move(opened);
  return Ok();
}

Status TransactionalWriter::CommitBatch(std::stop_token stop) {
  std::string symptom;
  for (int i = 0; i < kReseatsMax; ++i) {
    Status begun = producer_->Begin();
    Result<bool> placed = begun.ok() ? SendBatch() : begun.error();
    if (placed.ok() && *placed) {
      begun = producer_->Commit();
      if (!begun.ok()) placed = begun.error();
    }
    if (placed.ok() && *placed) {
      const Offset newest = next_ + static_cast<Offset>(batch_.size()) - 1;
      TRY(AwaitVisible(inspector_, newest, stop));
      next_ = newest + 2;  // behind the control record of the commit
      last_ = RecordId{static_cast<uint64_t>(newest) + 1, place_.leadership};
      window_.Ack(batch_.size(), SeqOf(newest));
      window_.Tell();
      return Ok();
    }
    producer_->Abort();
    symptom = placed.ok() ? fmt::format("topic {}: offset {} is taken", inspector_.endpoint().topic, next_)
                          : placed.error().message();
    Displaced displaced;
    displaced.last = last_;
    displaced.leadership = place_.leadership;
    displaced.ours_in_log = last_.leadership == place_.leadership;
    displaced.rival_known = producer_->fenced();
    displaced.symptom = symptom;
    const Result<Offset> seat = FindSeat(inspector_, displaced, stop);
    if (!seat.ok()) return seat.error();
    // A broken producer is no case for another try: the next takeover makes a new one.
    if (!placed.ok()) return placed.error().As(Errc::kUnavailable);
    next_ = *seat;
  }
  return Error(Errc::kUnavailable, symptom + ", again and again");
}

Result<bool> TransactionalWriter::SendBatch() {
  const std::string& topic = inspector_.endpoint().topic;
  uint64_t delivered = 0;
  bool displaced = false;
  Status failed;
  producer_->SetOnDelivery([&](const Producer::Delivery& delivery) {
    ++delivered;
    if (delivery.error == RD_KAFKA_RESP_ERR_NO_ERROR) {
      displaced = displaced || delivery.offset != next_ + static_cast<Offset>(delivery.number);
    } else if (failed.ok()) {
      failed = producer_->client().MakeError("append to topic " + topic, delivery.error);
    }
  });
  RecordId previous = last_;
  for (size_t i = 0; i < batch_.size() && failed.ok(); ++i) {
    Stamp stamp;
    stamp.offset = next_ + static_cast<Offset>(i);
    stamp.leadership = place_.leadership;
    stamp.previous = previous;
    previous = stamp.id();
    failed = producer_->Send(stamp, batch_[i], i);
  }
  // A transaction must be finished before its time-out, else the coordinator ends it for us.
  const milliseconds flush_max = inspector_.endpoint().transaction_timeout * 4 / 5;
  if (failed.ok()) rd_kafka_flush(producer_->client().get(), static_cast<int>(flush_max.count()));
  // What was not told by now is dropped, so that no delivery comes when nobody listens and no payload is needed any
  // more.
  if (!failed.ok() || delivered < batch_.size()) producer_->Drop();
  producer_->client().Poll(milliseconds(0));
  producer_->SetOnDelivery(nullptr);
  if (!failed.ok()) return failed.error();
  if (delivered < batch_.size()) return Error(Errc::kUnavailable, "topic " + topic + ": no acknowledgement");
  return !displaced;
}

}  // namespace runnel::bus::kafka
