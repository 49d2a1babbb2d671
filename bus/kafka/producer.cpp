#include "bus/kafka/producer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kMarkerMax(10'000);
constexpr int kInitTimeoutMs = 20'000;  // the first one on a new cluster makes the coordinator's topic: 1-2 s
constexpr uint64_t kBatchBytes = 1'000'000;
constexpr milliseconds kSlice(50);

Client::Properties Properties(const Endpoint& endpoint, const Producer::Options& options) {
  const uint64_t bytes_max = std::clamp<uint64_t>(options.topic_bytes_max, 1000, 1'000'000'000);
  Client::Properties properties = {
      {"enable.idempotence", "true"},
      {"acks", "all"},
      {"max.in.flight", "5"},
      {"linger.ms", "0"},
      {"compression.type", "none"},  // LTX pages are compressed already
      {"message.max.bytes", std::to_string(bytes_max)},
      // The topic's limit holds for a whole batch.
      {"batch.size", std::to_string(std::min(kBatchBytes, bytes_max * 9 / 10))},
      {"retry.backoff.ms", "50"},
      // The window of the writer is the bound; the library's queue only has to be larger.
      {"queue.buffering.max.messages",
       std::to_string(std::clamp<uint64_t>(options.inflight_messages_max, 1, 1'000'000) + 1000)},
      {"queue.buffering.max.kbytes",
       std::to_string(std::clamp<uint64_t>((options.inflight_bytes_max + bytes_max) / 1024 * 2, 1 << 16, 1 << 21))}};
  properties.emplace_back("transactional.id", endpoint.topic);
  // librdkafka wants no request to take longer than the transaction.
  const milliseconds socket_timeout = std::min(kSocketTimeout, endpoint.transaction_timeout);
  properties.emplace_back("socket.timeout.ms", std::to_string(socket_timeout.count()));
  properties.emplace_back("transaction.timeout.ms", std::to_string(endpoint.transaction_timeout.count()));
  return properties;
}

}  // namespace

Result<std::unique_ptr<Producer>> Producer::Open(const Endpoint& endpoint, Options options) {
  std::unique_ptr<Producer> producer(new Producer(options, endpoint.topic));
  Client::Options client_options;
  client_options.type = RD_KAFKA_PRODUCER;
  client_options.properties = Properties(endpoint, options);
  client_options.on_delivery = [self = producer.get()](const rd_kafka_message_t& message) {
    if (!self->on_delivery_) return;
    self->on_delivery_(Delivery{reinterpret_cast<uintptr_t>(message._private), message.err, message.offset});
  };
  TRY_ASSIGN(producer->client_, Client::Make(endpoint, std::move(client_options)));
  producer->topic_.reset(rd_kafka_topic_new(producer->client_->get(), endpoint.topic.c_str(), nullptr));
  if (producer->topic_ == nullptr) return Error(Errc::kInvalid, "kafka: topic name " + endpoint.topic);
  TRY_ASSIGN(const MetadataHandle metadata, producer->client_->AskMetadata(producer->topic_.get()));
  const ErrorHandle error(rd_kafka_init_transactions(producer->client_->get(), kInitTimeoutMs));
  if (error != nullptr) return producer->client_->MakeError("begin transactions of " + endpoint.topic, *error);
  return producer;
}

Status Producer::Send(const Stamp& stamp, std::string_view payload, uint64_t number) {
  const std::string text = EncodeStamp(stamp);
  HeadersHandle headers(rd_kafka_headers_new(1));
  rd_kafka_resp_err_t code =
      rd_kafka_header_add(headers.get(), kStampHeader, -1, text.data(), static_cast<ssize_t>(text.size()));
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
    code =
        rd_kafka_producev(client_->get(), RD_KAFKA_V_RKT(topic_.get()), RD_KAFKA_V_PARTITION(0),
                          RD_KAFKA_V_VALUE(const_cast<char*>(payload.data()), payload.size()), RD_KAFKA_V_MSGFLAGS(0),
                          RD_KAFKA_V_HEADERS(headers.get()),
                          RD_KAFKA_V_OPAQUE(reinterpret_cast<void*>(static_cast<uintptr_t>(number))), RD_KAFKA_V_END);
  }
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return client_->MakeError("append to topic " + topic_name_, code).As(Errc::kUnavailable);
  }
  (void)headers.release();  // the message owns them now
  return Ok();
}

Result<Offset> Producer::SendAndWait(const Stamp& stamp, std::string payload) {
  alone_ = std::move(payload);
  std::optional<Delivery> delivered;
  on_delivery_ = [&delivered](const Delivery& delivery) { delivered = delivery; };
  const Status sent = Send(stamp, alone_, 0);
  const SteadyTime deadline = DeadlineIn(kMarkerMax);
  while (sent.ok() && !delivered.has_value() && TimeLeft(deadline) > milliseconds(0)) client_->Poll(kSlice);
  on_delivery_ = nullptr;
  TRY(sent);
  const std::string what = "append a marker to topic " + topic_name_;
  if (!delivered.has_value()) return client_->MakeError(what, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT);
  if (delivered->error != RD_KAFKA_RESP_ERR_NO_ERROR) return client_->MakeError(what, delivered->error);
  return delivered->offset;
}

void Producer::Drop() {
  rd_kafka_purge(client_->get(), RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
}

bool Producer::fenced() const {
  std::array<char, 1> ignored = {};
  return rd_kafka_fatal_error(client_->get(), ignored.data(), ignored.size()) == RD_KAFKA_RESP_ERR__FENCED;
}

Status Producer::Begin() {
  const ErrorHandle error(rd_kafka_begin_transaction(client_->get()));
  if (error != nullptr) return client_->MakeError("begin a transaction", *error);
  return Ok();
}

Status Producer::Commit() {
  // Also waits for what was sent, and tells its deliveries from inside. A time-out here leaves the outcome open; a
  // second call would go on with the same commit, but the writer is better off looking at the log.
  const ErrorHandle error(rd_kafka_commit_transaction(client_->get(), kInitTimeoutMs));
  if (error != nullptr) return client_->MakeError("commit a transaction", *error);
  return Ok();
}

void Producer::Abort() {
  // If this fails the coordinator aborts by itself, at the latest after the transaction's time-out.
  const ErrorHandle ignored(rd_kafka_abort_transaction(client_->get(), kInitTimeoutMs));
}

}  // namespace runnel::bus::kafka
