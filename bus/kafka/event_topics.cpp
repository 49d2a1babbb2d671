#include "bus/kafka/event_topics.h"

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "bus/kafka/client.h"
#include "bus/kafka/endpoint.h"
#include "bus/kafka/handles.h"
#include "ltx/base/time.h"

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

// The first transaction on a new cluster makes the coordinator's topic: 1-2 s.
constexpr int kTransactionMs = 20'000;
// A commit of the database may be told for longer than that; an abandoned transaction holds readers back as long.
constexpr int kTransactionTimeoutMs = 60'000;
constexpr milliseconds kSlice(50);
constexpr uint64_t kHeadroomBytes = 4096;
constexpr const char* kIdHeader = "runnel-token";

using GroupHandle =
    std::unique_ptr<rd_kafka_consumer_group_metadata_t,
                    Destroy<rd_kafka_consumer_group_metadata_t, rd_kafka_consumer_group_metadata_destroy>>;

class EventTopics : public EventWriter {
 public:
  EventTopics(Endpoint endpoint, const std::string& prefix)
      : endpoint_(std::move(endpoint)),
        prefix_(prefix),
        group_("runnel-feed-" + prefix),
        memory_topic_(prefix + ".transaction") {}

  Status Open();

  Result<std::optional<std::string>> LastId(std::stop_token) override { return last_stored_; }
  Status Write(const OutboundEvent& event, std::stop_token stop) override;
  Status Flush(std::stop_token stop) override;
  uint64_t waiting_bytes() const override { return waiting_bytes_; }
  std::string location() const override { return fmt::format("kafka://{} topics {}.*", endpoint_.brokers, prefix_); }

 private:
  Status AwaitMemoryTopic();
  Status ReadLastId();
  Status Begin();
  Status Produce(const OutboundEvent& event, const std::stop_token& stop);
  Status Remember();
  // After this the writer is dead: what was not committed is not there.
  Error Abandon(std::string_view what, const rd_kafka_error_t& error);

  const Endpoint endpoint_;
  const std::string prefix_;
  const std::string group_;
  const std::string memory_topic_;
  std::unique_ptr<Client> producer_;
  std::optional<std::string> last_stored_;
  rd_kafka_resp_err_t delivery_error_ = RD_KAFKA_RESP_ERR_NO_ERROR;
  bool in_transaction_ = false;
  std::string last_id_;  // of the event written last
  int64_t flushes_ = 0;
  uint64_t waiting_bytes_ = 0;
};

Status EventTopics::Open() {
  Client::Options options;
  options.type = RD_KAFKA_PRODUCER;
  options.properties = {{"transactional.id", group_},
                        {"transaction.timeout.ms", std::to_string(kTransactionTimeoutMs)},
                        {"enable.idempotence", "true"},
                        {"acks", "all"},
                        {"linger.ms", "5"},
                        {"message.max.bytes", std::to_string(endpoint_.message_bytes_max)},
                        {"retry.backoff.ms", "50"}};
  options.on_delivery = [this](const rd_kafka_message_t& message) {
    if (message.err != RD_KAFKA_RESP_ERR_NO_ERROR) delivery_error_ = message.err;
  };
  TRY_ASSIGN(producer_, Client::Make(endpoint_, std::move(options)));
  TRY(AwaitMemoryTopic());
  // Whoever wrote under this prefix is fenced from here on, and its open transaction decided.
  const ErrorHandle error(rd_kafka_init_transactions(producer_->get(), kTransactionMs));
  if (error != nullptr) return producer_->MakeError("begin transactions of " + group_, *error);
  return ReadLastId();
}

// Asking for a topic makes it, where the broker makes topics by itself.
Status EventTopics::AwaitMemoryTopic() {
  const TopicHandle topic(rd_kafka_topic_new(producer_->get(), memory_topic_.c_str(), nullptr));
  if (topic == nullptr) return Error(Errc::kInvalid, "kafka: topic name " + memory_topic_);
  const SteadyTime deadline = DeadlineIn(endpoint_.timeout);
  while (true) {
    TRY_ASSIGN(const MetadataHandle metadata, producer_->AskMetadata(topic.get()));
    const bool there = metadata->topic_cnt == 1 && metadata->topics[0].err == RD_KAFKA_RESP_ERR_NO_ERROR &&
                       metadata->topics[0].partition_cnt > 0;
    if (there) return Ok();
    if (TimeLeft(deadline) == milliseconds(0)) {
      return Error(Errc::kUnavailable, fmt::format("kafka {}: topic {} is not there: make it, or let the broker make "
                                                   "topics (auto.create.topics.enable)",
                                                   endpoint_.brokers, memory_topic_));
    }
    producer_->Poll(kSlice);
  }
}

Status EventTopics::ReadLastId() {
  Client::Options options;
  options.type = RD_KAFKA_CONSUMER;
  options.properties = {{"group.id", group_}, {"isolation.level", "read_committed"}, {"enable.auto.commit", "false"}};
  TRY_ASSIGN(const std::unique_ptr<Client> consumer, Client::Make(endpoint_, std::move(options)));
  const PartitionsHandle partitions(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(partitions.get(), memory_topic_.c_str(), 0);
  const rd_kafka_resp_err_t code = rd_kafka_committed(consumer->get(), partitions.get(), kTransactionMs);
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return consumer->MakeError("ask what was written last", code);
  const rd_kafka_topic_partition_t& partition = partitions->elems[0];
  if (partition.err != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return consumer->MakeError("ask what was written last", partition.err);
  }
  if (partition.offset < 0) return Ok();
  flushes_ = partition.offset;
  last_stored_ = std::string(static_cast<const char*>(partition.metadata), partition.metadata_size);
  return Ok();
}

Status EventTopics::Begin() {
  if (in_transaction_) return Ok();
  const ErrorHandle error(rd_kafka_begin_transaction(producer_->get()));
  if (error != nullptr) return producer_->MakeError("begin a transaction", *error).As(Errc::kUnavailable);
  in_transaction_ = true;
  return Ok();
}

Status EventTopics::Write(const OutboundEvent& event, std::stop_token stop) {
  if (event.payload.size() + event.key.size() + kHeadroomBytes > endpoint_.message_bytes_max) {
    return Error(Errc::kInvalid, fmt::format("an event of {} bytes, messages have at most {}: raise max.message.bytes "
                                             "(?max.message.bytes= in the URL, and of the topic) or cut values with "
                                             "--max-value",
                                             event.payload.size(), endpoint_.message_bytes_max));
  }
  TRY(Begin());
  TRY(Produce(event, stop));
  last_id_ = event.id;
  waiting_bytes_ += event.payload.size();
  producer_->Poll(milliseconds(0));
  return Ok();
}

Status EventTopics::Produce(const OutboundEvent& event, const std::stop_token& stop) {
  const std::string topic = fmt::format("{}.{}", prefix_, event.topic);
  while (true) {
    // What was produced before a stop belongs to a transaction that is never committed.
    const rd_kafka_resp_err_t code = rd_kafka_producev(
        producer_->get(), RD_KAFKA_V_TOPIC(topic.c_str()),
        RD_KAFKA_V_KEY(event.key.empty() ? nullptr : const_cast<char*>(event.key.data()), event.key.size()),
        RD_KAFKA_V_VALUE(const_cast<char*>(event.payload.data()), event.payload.size()),
        RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_HEADER(kIdHeader, event.id.data(), event.id.size()),
        RD_KAFKA_V_END);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return Ok();
    if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL) {
      return producer_->MakeError("write to topic " + topic, code).As(Errc::kUnavailable);
    }
    if (stop.stop_requested()) return Error(Errc::kCancelled, "write to topic " + topic);
    producer_->Poll(kSlice);
  }
}

Status EventTopics::Remember() {
  const PartitionsHandle partitions(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_t* memory = rd_kafka_topic_partition_list_add(partitions.get(), memory_topic_.c_str(), 0);
  memory->offset = ++flushes_;
  memory->metadata = rd_kafka_mem_malloc(producer_->get(), last_id_.size());  // the list frees it
  memory->metadata_size = last_id_.size();
  std::copy(last_id_.begin(), last_id_.end(), static_cast<char*>(memory->metadata));
  const GroupHandle group(rd_kafka_consumer_group_metadata_new(group_.c_str()));
  const ErrorHandle error(
      rd_kafka_send_offsets_to_transaction(producer_->get(), partitions.get(), group.get(), kTransactionMs));
  return error == nullptr ? Ok() : Status(Abandon("remember the last event", *error));
}

Status EventTopics::Flush(std::stop_token) {
  if (!in_transaction_) return Ok();
  TRY(Remember());
  const ErrorHandle error(rd_kafka_commit_transaction(producer_->get(), kTransactionMs));
  if (error != nullptr) return Abandon("commit a transaction", *error);
  if (delivery_error_ != RD_KAFKA_RESP_ERR_NO_ERROR) {
    return producer_->MakeError("write events", delivery_error_).As(Errc::kUnavailable);
  }
  in_transaction_ = false;
  waiting_bytes_ = 0;
  return Ok();
}

Error EventTopics::Abandon(std::string_view what, const rd_kafka_error_t& error) {
  const Error described = producer_->MakeError(what, error);
  if (rd_kafka_error_txn_requires_abort(&error) != 0) {
    const ErrorHandle ignored(rd_kafka_abort_transaction(producer_->get(), kTransactionMs));
  }
  return described.code() == Errc::kInvalid ? described : described.As(Errc::kUnavailable);
}

}  // namespace

Result<std::unique_ptr<EventWriter>> OpenEventTopics(const Url& url, const OpenOptions& options) {
  TRY_ASSIGN(Endpoint endpoint, MakeEndpoint(url, options));
  auto topics = std::make_unique<EventTopics>(std::move(endpoint), url.name);
  TRY(topics->Open());
  return std::unique_ptr<EventWriter>(std::move(topics));
}

}  // namespace runnel::bus::kafka
