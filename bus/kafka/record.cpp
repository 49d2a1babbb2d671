#include "bus/kafka/record.h"

#include <fmt/format.h>

#include <algorithm>

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kSlice(100);
// How far back the search for the last record goes at first: control records and displaced records are few.
constexpr Offset kFirstStepBack = 2;

}  // namespace

std::optional<Stamp> TakeStamp(const rd_kafka_message_t& message) {
  rd_kafka_headers_t* headers = nullptr;
  if (rd_kafka_message_headers(&message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return std::nullopt;
  const void* value = nullptr;
  size_t size = 0;
  if (rd_kafka_header_get_last(headers, kStampHeader, &value, &size) != RD_KAFKA_RESP_ERR_NO_ERROR) return std::nullopt;
  return DecodeStamp(std::string_view(static_cast<const char*>(value), size));
}

std::optional<Record> TakeRecord(const rd_kafka_message_t& message) {
  const std::optional<Stamp> stamp = TakeStamp(message);
  if (!stamp.has_value() || stamp->offset != message.offset) return std::nullopt;
  Record record;
  record.stamp = *stamp;
  record.message.seq = SeqOf(message.offset);
  record.message.stored_at = WallTime(milliseconds(rd_kafka_message_timestamp(&message, nullptr)));
  record.message.payload.assign(static_cast<const char*>(message.payload), message.len);
  return record;
}

Inspector::Inspector(Endpoint endpoint, std::shared_ptr<Cluster> cluster, std::shared_ptr<Client> client,
                     TopicHandle topic)
    : endpoint_(std::move(endpoint)),
      cluster_(std::move(cluster)),
      client_(std::move(client)),
      topic_(std::move(topic)),
      look_lock_(cluster_->LookLock(endpoint_.topic)) {}

Result<std::unique_ptr<Inspector>> Inspector::Make(const Endpoint& endpoint, std::shared_ptr<Cluster> cluster) {
  TRY_ASSIGN(std::shared_ptr<Client> client, cluster->Control());
  TopicHandle topic(rd_kafka_topic_new(client->get(), endpoint.topic.c_str(), nullptr));
  if (topic == nullptr) return Error(Errc::kInvalid, "kafka: topic name " + endpoint.topic);
  return std::unique_ptr<Inspector>(new Inspector(endpoint, std::move(cluster), std::move(client), std::move(topic)));
}

Status Inspector::Scan(Offset from, Offset end, const std::function<bool(const rd_kafka_message_t&)>& look) {
  if (from >= end) return Ok();
  const MutexLock lock(*look_lock_);
  const std::string what = "read topic " + endpoint_.topic;
  if (rd_kafka_consume_start(topic_.get(), 0, from) != 0) return client_->MakeError(what, rd_kafka_last_error());
  const auto stop = [](rd_kafka_topic_t* topic) { rd_kafka_consume_stop(topic, 0); };
  const std::unique_ptr<rd_kafka_topic_t, decltype(stop)> stopper(topic_.get(), stop);
  SteadyTime deadline = DeadlineIn(endpoint_.timeout);
  while (true) {
    const int wait_ms = static_cast<int>(std::min(kSlice, TimeLeft(deadline)).count());
    const MessageHandle message(rd_kafka_consume(topic_.get(), 0, wait_ms));
    if (message == nullptr) {
      client_->Poll(milliseconds(0));
      if (TimeLeft(deadline) == milliseconds(0)) return client_->MakeError(what, RD_KAFKA_RESP_ERR__TIMED_OUT);
      continue;
    }
    if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
      if (message->offset >= end) return Ok();
      continue;  // the end seen by an earlier fetch: there is more
    }
    if (message->err == RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET) {
      return Error(Errc::kGap, fmt::format("topic {}: offset {} is gone", endpoint_.topic, from));
    }
    if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR) return client_->MakeError(what, message->err);
    if (message->offset >= end) return Ok();
    if (!look(*message) || message->offset + 1 >= end) return Ok();
    deadline = DeadlineIn(endpoint_.timeout);
  }
}

Result<std::optional<Record>> Inspector::FirstIn(Offset from, Offset end) {
  std::optional<Record> first;
  TRY(Scan(from, end, [&first](const rd_kafka_message_t& message) {
    first = TakeRecord(message);
    return !first.has_value();
  }));
  return first;
}

Result<std::optional<Record>> Inspector::LastIn(Watermarks marks) {
  // Most often the last record counts. Behind it may lie control records of transactions and records that do not count,
  // so the search steps back further and further; each step reads only what the one before has not.
  Offset end = marks.end;
  for (Offset step = 1; end > marks.low; step = std::max(kFirstStepBack, 2 * step)) {
    const Offset from = std::max(marks.low, end - step);
    std::optional<Record> last;
    TRY(Scan(from, end, [&last](const rd_kafka_message_t& message) {
      std::optional<Record> record = TakeRecord(message);
      if (record.has_value()) last = std::move(record);
      return true;
    }));
    if (last.has_value()) return last;
    end = from;
  }
  return std::optional<Record>();
}

}  // namespace runnel::bus::kafka
