#include "bus/kafka/plain_writer.h"

#include <fmt/format.h>
#include <pthread.h>

namespace runnel::bus::kafka {
namespace {

using std::chrono::microseconds;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// How long the oldest message may be on its way, over restarts of brokers and changes of leaders, before the writer
// gives up.
constexpr std::chrono::seconds kAckAgeMax(30);
// Groups on their way. While five requests of a partition are on their way, librdkafka 2 makes no further one of an
// idempotent producer, but asks again without a pause: half a core at 1,000 messages a second (measured). So it is
// given no more than it can send at once. It may send the first message of a group before the rest has come: two
// requests.
constexpr size_t kGroupsMax = 2;
// A broker that answers sooner gets the next group with the answer: fewer requests, and no later (measured). One that
// is further away gets a second group meanwhile.
constexpr microseconds kGroupPause(1000);
constexpr uint64_t kGroupBytesMax = 2 << 20;  // two requests more (LaneClient::Options::batch_bytes)
// A log that moves each time we sit down again is not ours to fix.
constexpr int kReseatsMax = 10;

}  // namespace

PlainWriter::PlainWriter(Inspector& inspector, std::unique_ptr<Lane> lane, const Place& place,
                         const WriterOptions& options)
    : place_(place),
      inspector_(inspector),
      window_(options, StreamSeq(place.previous.seq), inspector.endpoint().topic),
      base_(place.next - 1),
      previous_(place.previous),
      last_(place.previous),
      lane_(std::move(lane)) {
  Listen(*lane_);
}

PlainWriter::~PlainWriter() {
  {
    const MutexLock lock(mutex_);
    dead_ = true;  // no repair begins any more
  }
  repair_ = {};  // asks it to stop, and waits for it
  if (lane_ == nullptr) return;
  lane_->Listen({});
  lane_->Drop();
}

void PlainWriter::Listen(Lane& lane) {
  lane.Listen(LaneEvents{[this](const Producer::Delivery& delivery) { OnDelivery(delivery); }, [this] { OnPolled(); }});
}

Status PlainWriter::Append(std::string payload, std::stop_token stop) {
  if (payload.size() > place_.payload_bytes_max) {
    return Error(Errc::kInvalid, fmt::format("message of {} bytes, topic {} takes {}", payload.size(),
                                             inspector_.endpoint().topic, place_.payload_bytes_max));
  }
  TRY(window_.Admit(payload.size(), stop));
  Status sent;
  {
    const MutexLock lock(mutex_);
    if (payloads_.empty()) oldest_since_ = steady_clock::now();
    payloads_.push_back(std::make_shared<const std::string>(std::move(payload)));
    ++appended_;
    if (sending_) sent = SendPendingLocked();
  }
  if (!sent.ok()) Die(sent.error());
  return sent;
}

// REQUIRES: all messages before it were sent.
Status PlainWriter::SendLocked(uint64_t number) {
  Stamp stamp;
  stamp.offset = base_ + static_cast<Offset>(number);
  stamp.leadership = place_.leadership;
  stamp.previous = previous_;
  previous_ = stamp.id();
  return lane_->Send(stamp, PayloadLocked(number), number);
}

Status PlainWriter::SendPendingLocked() {
  if (sent_ == appended_ || groups_.size() >= kGroupsMax) return Ok();
  const SteadyTime now = steady_clock::now();
  if (!groups_.empty() && now - groups_.back().sent_at < kGroupPause) return Ok();
  uint64_t bytes = 0;
  while (sent_ < appended_ && bytes < kGroupBytesMax) {
    bytes += PayloadLocked(sent_ + 1)->size();
    TRY(SendLocked(sent_ + 1));
    ++sent_;
  }
  groups_.push_back(Group{sent_, now});
  return Ok();
}

void PlainWriter::OnDelivery(const Producer::Delivery& delivery) {
  {
    const MutexLock lock(mutex_);
    if (failure_.has_value() || dead_) return;
    const Offset meant_for = base_ + static_cast<Offset>(delivery.number);
    const bool counts = delivery.error == RD_KAFKA_RESP_ERR_NO_ERROR && delivery.offset == meant_for;
    if (!counts || delivery.number != acked_ + 1) {
      sending_ = false;
      failure_ = delivery;
    } else {
      payloads_.pop_front();
      oldest_since_ = steady_clock::now();
      ++acked_;
      ++acked_since_told_;
      if (!groups_.empty() && groups_.front().last <= acked_) groups_.pop_front();
      reseats_ = 0;
      last_ = RecordId{static_cast<uint64_t>(delivery.offset) + 1, place_.leadership};
      window_.Ack(1, SeqOf(delivery.offset));
      return;
    }
  }
  lane_->Drop();
}

void PlainWriter::OnPolled() {
  bool tell = false;
  Status alive;
  {
    const MutexLock lock(mutex_);
    if (dead_) return;
    tell = std::exchange(acked_since_told_, 0) > 0;
    if (failure_.has_value() && !repairing_) {
      repairing_ = true;
      repair_ = std::jthread([this, failure = *failure_](std::stop_token stop) { Repair(failure, stop); });
      pthread_setname_np(repair_.native_handle(), "kafka-repair");
    }
    if (!repairing_) alive = CheckAgeLocked();
    if (sending_ && alive.ok()) alive = SendPendingLocked();
  }
  if (tell) window_.Tell();
  if (!alive.ok()) Die(alive.error());
}

Status PlainWriter::CheckAgeLocked() {
  if (payloads_.empty() || steady_clock::now() - oldest_since_ < kAckAgeMax) return Ok();
  return lane_->client().MakeError("append to topic " + inspector_.endpoint().topic, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT);
}

void PlainWriter::Die(Error error) {
  {
    const MutexLock lock(mutex_);
    sending_ = false;
    dead_ = true;
  }
  window_.Fail(std::move(error));
}

void PlainWriter::Repair(const Producer::Delivery& failure, std::stop_token stop) {
  const Status repaired = HandleFailure(failure, stop);
  if (!repaired.ok()) Die(repaired.error());
}

Status PlainWriter::HandleFailure(const Producer::Delivery& failure, std::stop_token stop) {
  const std::string& topic = inspector_.endpoint().topic;
  const std::string what = fmt::format("append message {} to topic {}", failure.number, topic);
  if (failure.error != RD_KAFKA_RESP_ERR_NO_ERROR)
    return lane_->client().MakeError(what, failure.error).As(Errc::kUnavailable);
  if (failure.offset < 0) return Error(Errc::kUnavailable, what + ": the broker does not know where it lies");
  {
    const MutexLock lock(mutex_);
    if (failure.number != acked_ + 1) return Error(Errc::kUnavailable, what + ": acknowledged out of turn");
  }
  return Reseat(fmt::format("topic {}: message {} lies displaced at offset {}", topic, failure.number, failure.offset),
                stop);
}

Status PlainWriter::Reseat(const std::string& symptom, std::stop_token stop) {
  Displaced displaced;
  displaced.leadership = place_.leadership;
  displaced.symptom = symptom;
  {
    const MutexLock lock(mutex_);
    if (++reseats_ > kReseatsMax) return Error(Errc::kUnavailable, symptom + ", again and again");
    displaced.last = last_;
    displaced.ours_in_log = acked_ > 0 || place_.has_marker;
  }
  // What is on its way lies behind displaced records and is displaced too. On a lane of its own it is dropped; on a
  // shared one it has to arrive first, or it would displace what we send next.
  const Status arrived = lane_->AwaitNothingOnItsWay(DeadlineIn(kAckAgeMax), stop);
  if (!arrived.ok()) return arrived.error().As(Errc::kUnavailable).With(symptom);
  TRY_ASSIGN(const Offset seat, FindSeat(inspector_, displaced, stop));
  TRY_ASSIGN(std::unique_ptr<Lane> lane,
             inspector_.cluster().LeaseLane(inspector_.endpoint().topic, place_.topic_bytes_max));
  Listen(*lane);
  std::unique_ptr<Lane> old;  // ends outside the lock: it may join its client's threads
  const MutexLock lock(mutex_);
  old = std::exchange(lane_, std::move(lane));
  base_ = seat - static_cast<Offset>(acked_) - 1;
  previous_ = last_;
  oldest_since_ = steady_clock::now();
  sent_ = acked_;
  groups_.clear();
  TRY(SendPendingLocked());
  sending_ = true;
  inspector_.cluster().CountReseat();
  failure_.reset();
  repairing_ = false;  // from here on this thread only ends: the next repair waits for it
  return Ok();
}

}  // namespace runnel::bus::kafka
