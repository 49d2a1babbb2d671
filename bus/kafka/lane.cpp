#include "bus/kafka/lane.h"

#include <fmt/format.h>
#include <pthread.h>

#include <array>
#include <optional>
#include <vector>

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kPollWait(500);
constexpr milliseconds kMarkerMax(10'000);
constexpr milliseconds kLastWords(1000);
constexpr int kRequestsMax = 5;  // more would lose the order of an idempotent producer
// Brokers refuse larger requests (socket.request.max.bytes); a topic's own limit is smaller, and its writer keeps it.
constexpr int kMessageBytesMax = 99'000'000;

Client::Properties Properties(const LaneClient::Options& options) {
  return {{"enable.idempotence", "true"},
          {"acks", "all"},
          {"max.in.flight", std::to_string(kRequestsMax)},
          // The library waits in whole milliseconds: each fraction of one would be a whole one for every message.
          {"linger.ms", "0"},
          {"compression.type", "none"},  // LTX pages are compressed already
          {"message.max.bytes", std::to_string(kMessageBytesMax)},
          {"batch.size", std::to_string(options.batch_bytes)},
          {"retry.backoff.ms", "50"},
          // The windows of the writers are the bounds; the library's queue only has to be larger.
          {"queue.buffering.max.messages", "10000000"},
          {"queue.buffering.max.kbytes", std::to_string(1 << 21)},
          // No message may fail while those behind it go on: the writer decides when it has waited long enough.
          {"message.timeout.ms", "0"},
          {"enable.gapless.guarantee", "true"}};
}

}  // namespace

Result<std::shared_ptr<LaneClient>> LaneClient::Open(const Servers& servers, const Options& options) {
  std::shared_ptr<LaneClient> opened = std::unique_ptr<LaneClient>(new LaneClient(options));
  Client::Options client_options;
  client_options.type = RD_KAFKA_PRODUCER;
  client_options.properties = Properties(options);
  client_options.on_delivery = &Lane::Deliver;
  client_options.statistics = true;
  TRY_ASSIGN(opened->client_, Client::Make(servers, std::move(client_options)));
  opened->main_queue_.reset(rd_kafka_queue_get_main(opened->client_->get()));
  opened->thread_ = std::jthread([raw = opened.get()](std::stop_token stop) { raw->PollLoop(stop); });
  pthread_setname_np(opened->thread_.native_handle(), "kafka-acks");
  return opened;
}

LaneClient::~LaneClient() {
  if (thread_.joinable()) {
    thread_.request_stop();
    thread_.join();
  }
  if (client_ == nullptr) return;
  // Each message is told its end, which frees it.
  rd_kafka_purge(client_->get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
  const SteadyTime deadline = DeadlineIn(kLastWords);
  while (rd_kafka_outq_len(client_->get()) > 0 && TimeLeft(deadline) > milliseconds(0)) client_->Poll(milliseconds(10));
  main_queue_.reset();
}

bool LaneClient::broken() const {
  std::array<char, 1> ignored = {};
  return rd_kafka_fatal_error(client_->get(), ignored.data(), ignored.size()) != RD_KAFKA_RESP_ERR_NO_ERROR;
}

size_t LaneClient::lane_count() const {
  const MutexLock lock(mutex_);
  return lanes_.size();
}

void LaneClient::PollLoop(std::stop_token stop) {
  const std::stop_callback wake(stop, [this] { rd_kafka_queue_yield(main_queue_.get()); });
  std::vector<std::shared_ptr<Lane::State>> lanes;
  while (!stop.stop_requested()) {
    client_->Poll(kPollWait);
    {
      const MutexLock lock(mutex_);
      for (const Lane* lane : lanes_) lanes.push_back(lane->state_);
    }
    for (const std::shared_ptr<Lane::State>& lane : lanes) {
      const MutexLock lock(lane->events_mutex);
      if (lane->events.on_polled) lane->events.on_polled();
    }
    lanes.clear();
  }
}

Result<std::unique_ptr<Lane>> Lane::Open(std::shared_ptr<LaneClient> client, const std::string& topic) {
  TopicHandle handle(rd_kafka_topic_new(client->client().get(), topic.c_str(), nullptr));
  if (handle == nullptr) return Error(Errc::kInvalid, "kafka: topic name " + topic);
  std::unique_ptr<Lane> lane(new Lane(std::move(client), topic, std::move(handle)));
  TRY_ASSIGN(const MetadataHandle metadata, lane->client().AskMetadata(lane->topic_.get()));
  return lane;
}

Lane::Lane(std::shared_ptr<LaneClient> client, std::string topic_name, TopicHandle topic)
    : client_(std::move(client)), topic_name_(std::move(topic_name)), topic_(std::move(topic)) {
  const MutexLock lock(client_->mutex_);
  client_->lanes_.insert(this);
}

Lane::~Lane() {
  Listen({});
  const MutexLock lock(client_->mutex_);
  client_->lanes_.erase(this);
}

void Lane::Listen(LaneEvents events) {
  const MutexLock lock(state_->events_mutex);
  state_->events = std::move(events);
}

void Lane::Deliver(const rd_kafka_message_t& message) {
  const std::unique_ptr<Sent> sent(static_cast<Sent*>(message._private));
  {
    const MutexLock lock(sent->lane->events_mutex);
    const auto& tell = sent->lane->events.on_delivery;
    if (tell) tell(Producer::Delivery{sent->number, message.err, message.offset});
  }
  const MutexLock lock(sent->lane->mutex);
  --sent->lane->outstanding;
  if (sent->lane->outstanding == 0) sent->lane->changed.NotifyAll();
}

Status Lane::Send(const Stamp& stamp, std::shared_ptr<const std::string> payload, uint64_t number) {
  auto sent = std::make_unique<Sent>(Sent{state_, std::move(payload), number});
  const std::string_view bytes = *sent->payload;
  const std::string text = EncodeStamp(stamp);
  HeadersHandle headers(rd_kafka_headers_new(1));
  rd_kafka_resp_err_t code =
      rd_kafka_header_add(headers.get(), kStampHeader, -1, text.data(), static_cast<ssize_t>(text.size()));
  {
    const MutexLock lock(state_->mutex);
    ++state_->outstanding;
  }
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
    code = rd_kafka_producev(client().get(), RD_KAFKA_V_RKT(topic_.get()), RD_KAFKA_V_PARTITION(0),
                             RD_KAFKA_V_VALUE(const_cast<char*>(bytes.data()), bytes.size()), RD_KAFKA_V_MSGFLAGS(0),
                             RD_KAFKA_V_HEADERS(headers.get()), RD_KAFKA_V_OPAQUE(sent.get()), RD_KAFKA_V_END);
  }
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    const MutexLock lock(state_->mutex);
    --state_->outstanding;
    return client().MakeError("append to topic " + topic_name_, code).As(Errc::kUnavailable);
  }
  (void)headers.release();  // the message owns them now
  (void)sent.release();     // Deliver frees it
  return Ok();
}

Result<Offset> Lane::SendAndWait(const Stamp& stamp, std::string payload) {
  Mutex mutex;
  CondVar told;
  std::optional<Producer::Delivery> delivered;
  LaneEvents events;
  events.on_delivery = [&](const Producer::Delivery& delivery) {
    const MutexLock lock(mutex);
    delivered = delivery;
    told.NotifyAll();
  };
  Listen(std::move(events));
  const Status sent = Send(stamp, std::make_shared<const std::string>(std::move(payload)), 0);
  if (sent.ok()) {
    const SteadyTime deadline = DeadlineIn(kMarkerMax);
    const MutexLock lock(mutex);
    while (!delivered.has_value() && told.WaitUntil(mutex, {}, deadline)) {
    }
  }
  Listen({});
  TRY(sent);
  const std::string what = "append a marker to topic " + topic_name_;
  if (!delivered.has_value()) return client().MakeError(what, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT);
  if (delivered->error != RD_KAFKA_RESP_ERR_NO_ERROR) return client().MakeError(what, delivered->error);
  return delivered->offset;
}

void Lane::Drop() {
  if (client_->lane_count() > 1) return;
  rd_kafka_purge(client().get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

Status Lane::AwaitNothingOnItsWay(SteadyTime deadline, std::stop_token stop) {
  const MutexLock lock(state_->mutex);
  while (state_->outstanding > 0) {
    if (state_->changed.WaitUntil(state_->mutex, stop, deadline)) continue;
    if (stop.stop_requested()) return Error(Errc::kCancelled, "append to topic " + topic_name_);
    return Error(Errc::kTimeout, fmt::format("topic {}: {} messages on their way", topic_name_, state_->outstanding));
  }
  return Ok();
}

}  // namespace runnel::bus::kafka
