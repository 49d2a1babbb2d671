// The topic behind a log: made, looked at, judged, trimmed. Questions go through a control client (kafka_log.cpp).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bus/kafka/client.h"
#include "bus/kafka/stamp.h"
#include "ltx/base/result.h"

namespace runnel::bus::kafka {

// What the cluster says of a topic.
struct TopicFacts {
  int partition_count = 0;
  int replica_count = 0;                        // of partition 0
  std::map<std::string, std::string> settings;  // empty when we may not read them
};

// Offsets of the oldest record and behind the newest one.
struct Watermarks {
  Offset low = 0;
  Offset end = 0;
};

// What endangers data in these settings, one sentence each with the remedy. Pure. `replicas_wanted`: the configured
// number.
std::vector<std::string> JudgeTopic(const TopicFacts& facts, uint32_t replicas_wanted);

// The name of this making of the topic. Kafka's own topic ids are not shown by librdkafka before 2.3, so a topic made
// by us carries a random number in `flush.messages`, a setting without effect at such sizes ("sync to disk after 5e18
// messages"). A topic made by hand has none: there only readers that were reading notice a topic that was made again
// (bus/kafka/stamp.h).
std::string Incarnation(const TopicFacts& facts);

// Errors: kNotFound, kUnavailable, kInvalid (not permitted).
Result<TopicFacts> AskTopic(Client& client, rd_kafka_topic_t* topic);
Status AskTopicExists(Client& client, rd_kafka_topic_t* topic);

// Returns when the topic can be used. Errors: kConflict (exists), kUnavailable, kInvalid (refused by the cluster).
Status CreateTopic(Client& client, rd_kafka_topic_t* topic, const Endpoint& endpoint);

// Likewise, for notes (bus/kafka/kafka_notes.h): of each key the cluster keeps the last record.
Status CreateNotesTopic(Client& client, rd_kafka_topic_t* topic, const Endpoint& endpoint);

// With an isolation level of read_committed the end is that of the last finished transaction. Errors: kNotFound,
// kUnavailable.
Result<Watermarks> AskWatermarks(Client& client, const std::string& topic);

// Returns when records below `offset` can no longer be read. Errors: kNotFound, kUnavailable, kInvalid.
Status DeleteRecordsBefore(Client& client, const std::string& topic, Offset offset);

// Offset of the first record with a timestamp of at least `time_ms`; the end of the log if there is none.
Result<Offset> AskOffsetAtTime(Client& client, const std::string& topic, int64_t time_ms);

}  // namespace runnel::bus::kafka
