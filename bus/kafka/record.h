// Records of the partition, with their stamps checked; and the look at single ones.
#pragma once

#include <functional>
#include <memory>
#include <optional>

#include "bus/bus.h"
#include "bus/kafka/client.h"
#include "bus/kafka/cluster.h"
#include "bus/kafka/stamp.h"
#include "bus/kafka/topic.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

// A record that counts: stamped, and at the offset its stamp names.
struct Record {
  Message message;
  Stamp stamp;
};

// The stamp of a record, whether it counts or not; nullopt: not of this program.
std::optional<Stamp> TakeStamp(const rd_kafka_message_t& message);

// nullopt: a record that does not count (displaced, or not of this program).
std::optional<Record> TakeRecord(const rd_kafka_message_t& message);

inline StreamSeq SeqOf(Offset offset) { return StreamSeq(static_cast<uint64_t>(offset) + 1); }
// REQUIRES: seq > 0.
inline Offset OffsetOf(StreamSeq seq) { return static_cast<Offset>(seq.raw() - 1); }

// Looks at the records of one topic through the cluster's control client. THREAD: any; looks come one after the other.
class Inspector {
 public:
  // No connection is made. Errors: kInvalid.
  static Result<std::unique_ptr<Inspector>> Make(const Endpoint& endpoint, std::shared_ptr<Cluster> cluster);

  const Endpoint& endpoint() const { return endpoint_; }
  Cluster& cluster() { return *cluster_; }
  Client& client() { return *client_; }
  rd_kafka_topic_t* topic() { return topic_.get(); }

  Result<TopicFacts> Facts() { return AskTopic(*client_, topic_.get()); }
  // Cheaper than Facts. Errors: kNotFound, kUnavailable, kInvalid.
  Status Exists() { return AskTopicExists(*client_, topic_.get()); }
  // Low watermark, and the end as far as transactions have finished.
  Result<Watermarks> Marks() { return AskWatermarks(*client_, endpoint_.topic); }

  // Calls `look` for each visible record in [from, end), whether it counts or not, until it returns false. Errors: kGap
  // (`from` is no longer there), kUnavailable.
  Status Scan(Offset from, Offset end, const std::function<bool(const rd_kafka_message_t&)>& look);

  // The first record that counts at or behind `from`, of those in front of `end`.
  Result<std::optional<Record>> FirstIn(Offset from, Offset end);
  // The last one in [marks.low, marks.end).
  Result<std::optional<Record>> LastIn(Watermarks marks);

 private:
  Inspector(Endpoint endpoint, std::shared_ptr<Cluster> cluster, std::shared_ptr<Client> client, TopicHandle topic);

  const Endpoint endpoint_;
  const std::shared_ptr<Cluster> cluster_;
  const std::shared_ptr<Client> client_;
  const TopicHandle topic_;
  // Held across IO: librdkafka has one consumer per topic and client, and a look is short.
  const std::shared_ptr<Mutex> look_lock_;
};

}  // namespace runnel::bus::kafka
