#include "bus/kafka/topic.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <functional>
#include <random>

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

constexpr size_t kErrorTextBytes = 512;
// Random numbers of topics made by us lie above this; nobody configures such a number by hand.
constexpr uint64_t kIncarnationMin = uint64_t{1} << 62;
// What a publisher packs into one message, with room: Kafka's own default is a little more.
constexpr int64_t kMessageBytesMin = 1'000'000;
constexpr int64_t kRetentionMinMs = 3'600'000;
constexpr milliseconds kCreatedPoll(20);

int64_t Number(const TopicFacts& facts, const std::string& key, int64_t otherwise) {
  const auto found = facts.settings.find(key);
  if (found == facts.settings.end()) return otherwise;
  int64_t number = otherwise;
  std::from_chars(found->second.data(), found->second.data() + found->second.size(), number);
  return number;
}

std::string Text(const TopicFacts& facts, const std::string& key) {
  const auto found = facts.settings.find(key);
  return found == facts.settings.end() ? "" : found->second;
}

// Asks an administrator's question and waits for its answer, an event of the expected kind.
Result<EventHandle> Ask(Client& client, rd_kafka_admin_op_t operation, std::string_view what,
                        const std::function<void(const rd_kafka_AdminOptions_t*, rd_kafka_queue_t*)>& send) {
  const AdminOptionsHandle options(rd_kafka_AdminOptions_new(client.get(), operation));
  std::array<char, kErrorTextBytes> text = {};
  rd_kafka_AdminOptions_set_request_timeout(options.get(), client.timeout_ms(), text.data(), text.size());
  const QueueHandle queue(rd_kafka_queue_new(client.get()));
  send(options.get(), queue.get());
  // The question itself ends by its own time-out; this one only guards against a library that forgets it.
  EventHandle event(rd_kafka_queue_poll(queue.get(), 2 * client.timeout_ms()));
  if (event == nullptr) return client.MakeError(what, RD_KAFKA_RESP_ERR__TIMED_OUT);
  if (rd_kafka_event_error(event.get()) != RD_KAFKA_RESP_ERR_NO_ERROR) {
    client.Poll(milliseconds(0));
    return client.MakeError(what, rd_kafka_event_error(event.get()));
  }
  return event;
}

Status AskSettings(Client& client, rd_kafka_topic_t* topic, TopicFacts& facts) {
  const ConfigResourceHandle resource(rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, rd_kafka_topic_name(topic)));
  rd_kafka_ConfigResource_t* const asked = resource.get();
  TRY_ASSIGN(const EventHandle event, Ask(client, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS, "ask for topic settings",
                                          [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                                            rd_kafka_ConfigResource_t* resources[] = {asked};
                                            rd_kafka_DescribeConfigs(client.get(), resources, 1, options, queue);
                                          }));
  size_t count = 0;
  const rd_kafka_ConfigResource_t** answers =
      rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(event.get()), &count);
  if (count != 1) return client.MakeError("ask for topic settings", RD_KAFKA_RESP_ERR__BAD_MSG);
  const rd_kafka_resp_err_t code = rd_kafka_ConfigResource_error(answers[0]);
  if (code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED || code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
    return Ok();
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return client.MakeError("ask for topic settings", code);
  const rd_kafka_ConfigEntry_t** entries = rd_kafka_ConfigResource_configs(answers[0], &count);
  for (size_t i = 0; i < count; ++i) {
    const char* value = rd_kafka_ConfigEntry_value(entries[i]);
    if (value != nullptr) facts.settings[rd_kafka_ConfigEntry_name(entries[i])] = value;
  }
  return Ok();
}

uint64_t RandomIncarnation() {
  std::random_device device;
  const uint64_t random = uint64_t{device()} << 32 | device();
  return kIncarnationMin | (random >> 2);
}

}  // namespace

std::vector<std::string> JudgeTopic(const TopicFacts& facts, uint32_t replicas_wanted) {
  std::vector<std::string> dangers;
  if (facts.partition_count != 1) {
    dangers.push_back(
        fmt::format("it has {} partitions and a log has one order: make it again with one", facts.partition_count));
  }
  if (facts.settings.empty()) {
    dangers.push_back("its settings cannot be read: allow DESCRIBE_CONFIGS on the topic");
    return dangers;
  }
  if (Text(facts, "cleanup.policy").find("compact") != std::string::npos) {
    dangers.push_back(
        fmt::format("cleanup.policy={} throws away messages out of the middle of the log: set it to delete",
                    Text(facts, "cleanup.policy")));
  }
  if (Number(facts, "retention.bytes", -1) >= 0) {
    dangers.push_back(fmt::format("retention.bytes={} throws away messages that nobody has archived: set it to -1",
                                  Number(facts, "retention.bytes", -1)));
  }
  const int64_t retention_ms = Number(facts, "retention.ms", -1);
  if (retention_ms >= 0 && retention_ms < kRetentionMinMs) {
    dangers.push_back(
        fmt::format("retention.ms={} keeps messages for less than an hour: set it to 604800000", retention_ms));
  }
  const int64_t message_bytes = Number(facts, "max.message.bytes", kMessageBytesMin);
  if (message_bytes < kMessageBytesMin) {
    dangers.push_back(fmt::format("max.message.bytes={} is less than the messages of a log may need: set it to 8388608",
                                  message_bytes));
  }
  if (facts.replica_count < static_cast<int>(replicas_wanted)) {
    dangers.push_back(
        fmt::format("it has {} replicas where {} are configured: add replicas or lower the configured number",
                    facts.replica_count, replicas_wanted));
  }
  const int64_t insync_min = Number(facts, "min.insync.replicas", 1);
  if (facts.replica_count > 1 && insync_min < 2) {
    dangers.push_back("min.insync.replicas=1 acknowledges messages that only one broker has: set it to 2");
  }
  if (insync_min > facts.replica_count) {
    dangers.push_back(
        fmt::format("min.insync.replicas={} is more than its {} replicas, so nothing can be written: lower it",
                    insync_min, facts.replica_count));
  }
  if (facts.replica_count > 1 && Text(facts, "unclean.leader.election.enable") == "true") {
    dangers.push_back("unclean.leader.election.enable=true loses acknowledged messages: set it to false");
  }
  return dangers;
}

std::string Incarnation(const TopicFacts& facts) {
  const std::string text = Text(facts, "flush.messages");
  uint64_t number = 0;
  std::from_chars(text.data(), text.data() + text.size(), number);
  const bool ours = number >= kIncarnationMin && number < static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  return ours ? fmt::format("{:016x}", number) : "unmarked";
}

namespace {

// Partitions and replicas, without the settings.
Result<TopicFacts> AskShape(Client& client, rd_kafka_topic_t* topic) {
  TRY_ASSIGN(const MetadataHandle metadata, client.AskMetadata(topic));
  if (metadata->topic_cnt != 1) return client.MakeError("ask for the topic", RD_KAFKA_RESP_ERR__BAD_MSG);
  const rd_kafka_metadata_topic& answer = metadata->topics[0];
  const std::string what = std::string("topic ") + rd_kafka_topic_name(topic);
  if (answer.err != RD_KAFKA_RESP_ERR_NO_ERROR) return client.MakeError(what, answer.err);
  TopicFacts facts;
  facts.partition_count = answer.partition_cnt;
  if (answer.partition_cnt > 0) {
    if (answer.partitions[0].leader < 0) return client.MakeError(what, RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE);
    facts.replica_count = answer.partitions[0].replica_cnt;
  }
  return facts;
}

}  // namespace

Result<TopicFacts> AskTopic(Client& client, rd_kafka_topic_t* topic) {
  TRY_ASSIGN(TopicFacts facts, AskShape(client, topic));
  TRY(AskSettings(client, topic, facts));
  return facts;
}

Status AskTopicExists(Client& client, rd_kafka_topic_t* topic) {
  TRY_ASSIGN(const TopicFacts facts, AskShape(client, topic));
  return Ok();
}

namespace {

Status TryCreateTopic(Client& client, const Endpoint& endpoint, const Client::Properties& settings) {
  std::array<char, kErrorTextBytes> text = {};
  const NewTopicHandle topic(
      rd_kafka_NewTopic_new(endpoint.topic.c_str(), 1, static_cast<int>(endpoint.replicas), text.data(), text.size()));
  if (topic == nullptr) return Error(Errc::kInvalid, fmt::format("topic {}: {}", endpoint.topic, text.data()));
  for (const auto& [key, value] : settings) rd_kafka_NewTopic_set_config(topic.get(), key.c_str(), value.c_str());
  rd_kafka_NewTopic_t* const asked = topic.get();
  const std::string what = "create topic " + endpoint.topic;
  TRY_ASSIGN(const EventHandle event, Ask(client, RD_KAFKA_ADMIN_OP_CREATETOPICS, what,
                                          [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                                            rd_kafka_NewTopic_t* topics[] = {asked};
                                            rd_kafka_CreateTopics(client.get(), topics, 1, options, queue);
                                          }));
  size_t count = 0;
  const rd_kafka_topic_result_t** results =
      rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event.get()), &count);
  if (count != 1) return client.MakeError(what, RD_KAFKA_RESP_ERR__BAD_MSG);
  const rd_kafka_resp_err_t code = rd_kafka_topic_result_error(results[0]);
  const char* reason = rd_kafka_topic_result_error_string(results[0]);
  switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR: return Ok();
    case RD_KAFKA_RESP_ERR_TOPIC_ALREADY_EXISTS: return Error(Errc::kConflict, what + ": it exists");
    case RD_KAFKA_RESP_ERR_INVALID_CONFIG:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR_INVALID_REPLICATION_FACTOR:
      return Error(Errc::kInvalid,
                   fmt::format("kafka {}: {}: {}", endpoint.brokers, what, reason != nullptr ? reason : "refused"));
    default: return client.MakeError(what, code);
  }
}

// Brokers learn of a new topic one after the other, and its leader may answer for it later than the others.
Status AwaitTopic(Client& client, rd_kafka_topic_t* topic) {
  const SteadyTime deadline = DeadlineIn(client.timeout());
  while (true) {
    Status there;
    if (const Result<TopicFacts> facts = AskTopic(client, topic); !facts.ok()) there = facts.error();
    if (there.ok()) {
      if (const Result<Watermarks> marks = AskWatermarks(client, rd_kafka_topic_name(topic)); !marks.ok())
        there = marks.error();
    }
    if (there.ok()) return Ok();
    if (TimeLeft(deadline) == milliseconds(0)) return there.error().As(Errc::kUnavailable);
    TRY(SleepUntil(DeadlineIn(kCreatedPoll), {}));
  }
}

}  // namespace

Status CreateTopic(Client& client, rd_kafka_topic_t* topic, const Endpoint& endpoint) {
  const milliseconds retention = endpoint.retention;
  // To Kafka 0 would mean "at once".
  const std::string retention_ms = retention.count() > 0 ? std::to_string(retention.count()) : "-1";
  Client::Properties settings = {{"cleanup.policy", "delete"},
                                 {"retention.ms", retention_ms},
                                 {"retention.bytes", "-1"},
                                 {"max.message.bytes", std::to_string(endpoint.message_bytes_max)},
                                 {"min.insync.replicas", endpoint.replicas > 1 ? "2" : "1"},
                                 {"unclean.leader.election.enable", "false"},
                                 // The bus's clock, not the publisher's, says when a message was stored.
                                 {"message.timestamp.type", "LogAppendTime"}};
  Client::Properties marked = settings;
  marked.emplace_back("flush.messages", std::to_string(RandomIncarnation()));
  Status created = TryCreateTopic(client, endpoint, marked);
  // Managed clusters may forbid flush.messages; a log without an incarnation of its own is better than none.
  if (!created.ok() && created.code() == Errc::kInvalid) created = TryCreateTopic(client, endpoint, settings);
  TRY(created);
  return AwaitTopic(client, topic);
}

Status CreateNotesTopic(Client& client, rd_kafka_topic_t* topic, const Endpoint& endpoint) {
  // Segments small enough to be compacted before somebody has to read megabytes for a few nodes.
  TRY(TryCreateTopic(client, endpoint,
                     {{"cleanup.policy", "compact"},
                      {"segment.bytes", "1048576"},
                      {"min.cleanable.dirty.ratio", "0.1"},
                      {"message.timestamp.type", "LogAppendTime"}}));
  return AwaitTopic(client, topic);
}

Result<Watermarks> AskWatermarks(Client& client, const std::string& topic) {
  Watermarks marks;
  const rd_kafka_resp_err_t code =
      rd_kafka_query_watermark_offsets(client.get(), topic.c_str(), 0, &marks.low, &marks.end, client.timeout_ms());
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) return marks;
  client.Poll(milliseconds(0));
  return client.MakeError("ask for the offsets of topic " + topic, code);
}

Status DeleteRecordsBefore(Client& client, const std::string& topic, Offset offset) {
  const PartitionsHandle partitions(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_list_add(partitions.get(), topic.c_str(), 0)->offset = offset;
  const DeleteRecordsHandle deletion(rd_kafka_DeleteRecords_new(partitions.get()));
  rd_kafka_DeleteRecords_t* const asked = deletion.get();
  const std::string what = "trim topic " + topic;
  TRY_ASSIGN(const EventHandle event, Ask(client, RD_KAFKA_ADMIN_OP_DELETERECORDS, what,
                                          [&](const rd_kafka_AdminOptions_t* options, rd_kafka_queue_t* queue) {
                                            rd_kafka_DeleteRecords_t* deletions[] = {asked};
                                            rd_kafka_DeleteRecords(client.get(), deletions, 1, options, queue);
                                          }));
  const rd_kafka_topic_partition_list_t* done =
      rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event.get()));
  if (done->cnt != 1) return client.MakeError(what, RD_KAFKA_RESP_ERR__BAD_MSG);
  if (done->elems[0].err != RD_KAFKA_RESP_ERR_NO_ERROR) return client.MakeError(what, done->elems[0].err);
  return Ok();
}

Result<Offset> AskOffsetAtTime(Client& client, const std::string& topic, int64_t time_ms) {
  const PartitionsHandle partitions(rd_kafka_topic_partition_list_new(1));
  rd_kafka_topic_partition_t* place = rd_kafka_topic_partition_list_add(partitions.get(), topic.c_str(), 0);
  place->offset = time_ms;
  rd_kafka_resp_err_t code = rd_kafka_offsets_for_times(client.get(), partitions.get(), client.timeout_ms());
  if (code == RD_KAFKA_RESP_ERR_NO_ERROR) code = place->err;
  if (code != RD_KAFKA_RESP_ERR_NO_ERROR) {
    client.Poll(milliseconds(0));
    return client.MakeError("ask for an offset by time of topic " + topic, code);
  }
  if (place->offset >= 0) return place->offset;
  TRY_ASSIGN(const Watermarks marks, AskWatermarks(client, topic));
  return marks.end;
}

}  // namespace runnel::bus::kafka
