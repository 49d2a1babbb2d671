#include "bus/kafka/kafka_reader.h"

#include <fmt/format.h>

#include <algorithm>

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

// Where the fetcher is woken, well before what was fetched ahead is used up.
constexpr uint64_t kWakeBytes = Cluster::kPrefetchBytes / 4;
// The longest sleep without a look at the library's errors.
constexpr milliseconds kSlice(100);
// A broker that has just started may not know its topics yet: a topic is gone when it stays unknown for this long.
constexpr milliseconds kMissingMax(3000);

}  // namespace

Result<std::unique_ptr<LogReader>> KafkaReader::Open(Inspector& inspector, StartAt start) {
  const std::string& name = inspector.endpoint().topic;
  TRY_ASSIGN(std::unique_ptr<Cluster::Lease> lease, inspector.cluster().LeaseReader(name));
  TopicHandle topic(rd_kafka_topic_new(lease->client().get(), name.c_str(), nullptr));
  if (topic == nullptr) return Error(Errc::kInvalid, "kafka: topic name " + name);
  std::unique_ptr<KafkaReader> reader(new KafkaReader(name, std::move(lease), std::move(topic)));
  TRY(reader->Start(inspector, start));
  return std::unique_ptr<LogReader>(std::move(reader));
}

KafkaReader::KafkaReader(std::string topic_name, std::unique_ptr<Cluster::Lease> lease, TopicHandle topic)
    : topic_name_(std::move(topic_name)),
      lease_(std::move(lease)),
      client_(&lease_->client()),
      topic_(std::move(topic)),
      queue_(rd_kafka_queue_new(client_->get())) {}

KafkaReader::~KafkaReader() {
  if (started_) rd_kafka_consume_stop(topic_.get(), 0);
}

Status KafkaReader::Start(Inspector& inspector, const StartAt& start) {
  TRY_ASSIGN(const Watermarks marks, inspector.Marks());
  Offset from = marks.low;
  if (std::holds_alternative<FromEnd>(start)) from = marks.end;
  if (const FromSequence* sequence = std::get_if<FromSequence>(&start)) {
    from = std::max(marks.low, OffsetOf(std::max(sequence->seq, StreamSeq(1))));
    if (from > marks.end) {
      (void)Gap(fmt::format("it ends at sequence {}, reading was to go on at {}", marks.end, sequence->seq.raw()));
      return Ok();  // it is Next that reports gaps
    }
  }
  if (const FromTime* time = std::get_if<FromTime>(&start)) {
    not_before_ = time->time;
    const int64_t time_ms = std::chrono::ceil<milliseconds>(time->time.time_since_epoch()).count();
    TRY_ASSIGN(from, AskOffsetAtTime(inspector.client(), topic_name_, std::max<int64_t>(0, time_ms)));
  }
  // Asked first: else the consumer would wait for its next regular look at the cluster.
  TRY_ASSIGN(const MetadataHandle metadata, client_->AskMetadata(topic_.get()));
  if (rd_kafka_consume_start_queue(topic_.get(), 0, from, queue_.get()) != 0) {
    return client_->MakeError("read topic " + topic_name_, rd_kafka_last_error());
  }
  started_ = true;
  return Ok();
}

Result<Message> KafkaReader::Next(SteadyTime deadline, std::stop_token stop) {
  const std::stop_callback wake(stop, [this] { rd_kafka_queue_yield(queue_.get()); });
  while (true) {
    if (gap_.has_value()) return *gap_;
    if (stop.stop_requested()) return Error(Errc::kCancelled, "read topic " + topic_name_);
    MessageHandle message(rd_kafka_consume_queue(queue_.get(), 0));
    if (message == nullptr) {
      client_->Poll(milliseconds(0));
      if (missing_since_.has_value()) TRY(CheckTopicExists());
      const milliseconds left = TimeLeft(deadline);
      if (left == milliseconds(0)) return AtDeadline();
      message.reset(rd_kafka_consume_queue(queue_.get(), static_cast<int>(std::min(kSlice, left).count())));
    }
    if (message == nullptr) continue;
    TRY_ASSIGN(std::optional<Message> taken, Take(*message));
    if (taken.has_value()) return *std::move(taken);
  }
}

// librdkafka 2.0 stops fetching when its queue is full, and then sleeps until something happens on the connection, up
// to a second: 16 MB/s instead of hundreds. Any request to the leader wakes it, and nobody needs to wait for the
// answer.
void KafkaReader::WakeFetcher() const {
  const PartitionsHandle partitions(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(partitions.get(), topic_name_.c_str(), 0)->offset = 0;
  (void)rd_kafka_offsets_for_times(client_->get(), partitions.get(), 0);
}

Result<std::optional<Message>> KafkaReader::Take(const rd_kafka_message_t& message) {
  switch (message.err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: break;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
      return Gap(fmt::format("messages behind sequence {} are gone (trimmed, or the end of the log was lost)",
                             last_.has_value() ? last_->seq : 0));
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
      if (!missing_since_.has_value()) missing_since_ = steady_clock::now();
      return std::optional<Message>();
    default: return client_->MakeError("read topic " + topic_name_, message.err);
  }
  client_->HeardFromBroker();
  taken_bytes_ += message.len;
  if (taken_bytes_ >= kWakeBytes) {
    taken_bytes_ = 0;
    WakeFetcher();
  }
  std::optional<Record> record = TakeRecord(message);
  if (!record.has_value()) {
    lease_->cluster().CountPassedOver();
    return std::optional<Message>();
  }
  const RecordId previous = record->stamp.previous;
  // A marker in a log that was trimmed to nothing names no record; what was trimmed before we read it was told by the
  // broker.
  const bool unnamed = previous.leadership == 0 && record->stamp.offset > 0;
  if (last_.has_value() && !unnamed && previous != *last_) {
    return Gap(fmt::format("message {} follows message {}, the last one read here is {}{}", record->message.seq.raw(),
                           previous.seq, last_->seq,
                           previous.seq == last_->seq ? " of another writer: the log was made again" : ""));
  }
  last_ = record->stamp.id();
  if (not_before_.has_value() && record->message.stored_at < *not_before_) return std::optional<Message>();
  not_before_.reset();
  return std::optional<Message>(std::move(record->message));
}

Status KafkaReader::CheckTopicExists() {
  const Result<TopicFacts> facts = AskTopic(*client_, topic_.get());
  if (facts.ok()) {
    missing_since_.reset();
    return Ok();
  }
  if (facts.code() != Errc::kNotFound || steady_clock::now() - *missing_since_ < kMissingMax) return Ok();
  return Gap("it was deleted");
}

Error KafkaReader::Gap(std::string reason) {
  gap_ = Error(Errc::kGap, fmt::format("topic {}: {}", topic_name_, reason));
  return *gap_;
}

Error KafkaReader::AtDeadline() {
  if (client_->all_brokers_down()) {
    const Result<MetadataHandle> answer = client_->AskMetadata(topic_.get());
    if (!answer.ok()) return answer.error().As(Errc::kUnavailable);
  }
  return Error(Errc::kTimeout, "no message in topic " + topic_name_);
}

}  // namespace runnel::bus::kafka
