#include "bus/kafka/plain_writer.h"

#include <fmt/format.h>
#include <pthread.h>

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kPollWait(500);
// How long the oldest message may be on its way, over restarts of brokers and changes of leaders, before the writer
// gives up.
constexpr std::chrono::seconds kAckAgeMax(30);
// A log that moves each time we sit down again is not ours to fix.
constexpr int kReseatsMax = 10;

}  // namespace

PlainWriter::PlainWriter(Inspector& inspector, std::unique_ptr<Producer> producer, const Place& place,
                         const WriterOptions& options)
    : place_(place),
      inspector_(inspector),
      producer_options_(producer->options()),
      window_(options, StreamSeq(place.previous.seq), inspector.client().endpoint().topic),
      last_(place.previous),
      base_(place.next - 1),
      previous_(place.previous) {
  UseProducer(std::move(producer));
  thread_ = std::jthread([this](std::stop_token stop) { PollLoop(stop); });
  pthread_setname_np(thread_.native_handle(), "kafka-acks");
}

PlainWriter::~PlainWriter() {
  thread_.request_stop();
  thread_.join();
  if (producer_ != nullptr) producer_->Drop();
}

void PlainWriter::UseProducer(std::unique_ptr<Producer> producer) {
  if (producer != nullptr)
    producer->SetOnDelivery([this](const Producer::Delivery& delivery) { OnDelivery(delivery); });
  std::unique_ptr<Producer> old;
  {
    const MutexLock lock(mutex_);
    old = std::exchange(producer_, std::move(producer));
  }
  // The old one ends here, outside the lock: it joins its threads.
}

Status PlainWriter::Append(std::string payload, std::stop_token stop) {
  if (payload.size() > place_.payload_bytes_max) {
    return Error(Errc::kInvalid, fmt::format("message of {} bytes, topic {} takes {}", payload.size(),
                                             inspector_.client().endpoint().topic, place_.payload_bytes_max));
  }
  TRY(window_.Admit(payload.size(), stop));
  Status sent;
  {
    const MutexLock lock(mutex_);
    if (payloads_.empty()) oldest_since_ = steady_clock::now();
    payloads_.push_back(std::move(payload));
    ++appended_;
    if (sending_) sent = SendLocked(appended_);
  }
  if (!sent.ok()) window_.Fail(sent.error());
  return sent;
}

// REQUIRES: all messages before it were sent.
Status PlainWriter::SendLocked(uint64_t number) {
  Stamp stamp;
  stamp.offset = base_ + static_cast<Offset>(number);
  stamp.leadership = place_.leadership;
  stamp.previous = previous_;
  previous_ = stamp.id();
  const std::string& payload = payloads_[payloads_.size() - 1 - (appended_ - number)];
  const Status sent = producer_->Send(stamp, payload, number);
  if (!sent.ok()) sending_ = false;
  return sent;
}

// Inside Poll: notes, and returns.
void PlainWriter::OnDelivery(const Producer::Delivery& delivery) {
  if (failure_.has_value()) return;
  {
    const MutexLock lock(mutex_);
    const Offset meant_for = base_ + static_cast<Offset>(delivery.number);
    const bool counts = delivery.error == RD_KAFKA_RESP_ERR_NO_ERROR && delivery.offset == meant_for;
    if (!counts || delivery.number != acked_ + 1) {
      sending_ = false;
      failure_ = delivery;
    } else {
      payloads_.pop_front();
      oldest_since_ = steady_clock::now();
    }
  }
  if (failure_.has_value()) {
    producer_->Drop();
    return;
  }
  ++acked_;
  ++acked_since_told_;
  reseats_ = 0;
  last_ = RecordId{static_cast<uint64_t>(delivery.offset) + 1, place_.leadership};
  window_.Ack(1, SeqOf(delivery.offset));
}

void PlainWriter::PollLoop(std::stop_token stop) {
  const std::stop_callback wake(stop, [this] {
    const MutexLock lock(mutex_);
    if (producer_ != nullptr) producer_->Wake();
  });
  while (!stop.stop_requested()) {
    producer_->client().Poll(kPollWait);
    if (acked_since_told_ > 0) window_.Tell();
    acked_since_told_ = 0;
    const Status alive = failure_.has_value() ? HandleFailure(stop) : CheckAge();
    if (alive.ok()) continue;
    {
      const MutexLock lock(mutex_);
      sending_ = false;
    }
    if (producer_ != nullptr) producer_->Drop();
    window_.Fail(alive.error());
    return;
  }
}

Status PlainWriter::CheckAge() {
  const MutexLock lock(mutex_);
  if (payloads_.empty() || steady_clock::now() - oldest_since_ < kAckAgeMax) return Ok();
  return producer_->client().MakeError("append to topic " + inspector_.client().endpoint().topic,
                                       RD_KAFKA_RESP_ERR__MSG_TIMED_OUT);
}

Status PlainWriter::HandleFailure(std::stop_token stop) {
  const std::string& topic = inspector_.client().endpoint().topic;
  const std::string what = fmt::format("append message {} to topic {}", failure_->number, topic);
  if (failure_->error != RD_KAFKA_RESP_ERR_NO_ERROR)
    return producer_->client().MakeError(what, failure_->error).As(Errc::kUnavailable);
  if (failure_->offset < 0) return Error(Errc::kUnavailable, what + ": the broker does not know where it lies");
  if (failure_->number != acked_ + 1) return Error(Errc::kUnavailable, what + ": acknowledged out of turn");
  return Reseat(
      fmt::format("topic {}: message {} lies displaced at offset {}", topic, failure_->number, failure_->offset), stop);
}

Status PlainWriter::Reseat(const std::string& symptom, std::stop_token stop) {
  if (++reseats_ > kReseatsMax) return Error(Errc::kUnavailable, symptom + ", again and again");
  // With its producer goes what it had queued. What is on its way lies behind displaced records and is displaced too.
  UseProducer(nullptr);
  Displaced displaced;
  displaced.last = last_;
  displaced.leadership = place_.leadership;
  displaced.ours_in_log = acked_ > 0 || place_.has_marker;
  displaced.symptom = symptom;
  TRY_ASSIGN(const Offset seat, FindSeat(inspector_, displaced, stop));
  TRY_ASSIGN(std::unique_ptr<Producer> producer,
             Producer::Open(inspector_.client().endpoint(), Fencing::kMarker, producer_options_));
  UseProducer(std::move(producer));
  failure_.reset();
  const MutexLock lock(mutex_);
  base_ = seat - static_cast<Offset>(acked_) - 1;
  previous_ = last_;
  oldest_since_ = steady_clock::now();
  for (uint64_t number = acked_ + 1; number <= appended_; ++number) TRY(SendLocked(number));
  sending_ = true;
  return Ok();
}

}  // namespace runnel::bus::kafka
