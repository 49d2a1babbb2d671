// The reading end of a Kafka log: one consumer without a group, on a client that readers of other logs may use as well.
//
// I1  Only records that count are handed out (bus/kafka/stamp.h): displaced and foreign ones are passed over.
// I2  A record that does not name the last one handed out as the one before it is a gap: something is lost, or the
// topic was made
//     again. The same for a place that the broker no longer has, or a topic that is gone.
// I3  At most Cluster::kPrefetchBytes are fetched ahead (and one answer of the broker, which may be as large as the
// largest message).
//
// It reads committed records only; nothing is committed to the cluster, so no consumer group and no rights on one are
// needed.
#pragma once

#include <memory>
#include <optional>

#include "bus/bus.h"
#include "bus/kafka/client.h"
#include "bus/kafka/record.h"

namespace runnel::bus::kafka {

class KafkaReader : public LogReader {
 public:
  // `inspector` is used during the call only; its cluster outlives the reader. Errors: kNotFound, kUnavailable,
  // kInvalid.
  static Result<std::unique_ptr<LogReader>> Open(Inspector& inspector, StartAt start);
  ~KafkaReader() override;

  // A cluster that is away is noticed by librdkafka and asked once more at the deadline, which may overrun it by the
  // endpoint's time-out.
  Result<Message> Next(SteadyTime deadline, std::stop_token stop) override;

 private:
  KafkaReader(std::string topic_name, std::unique_ptr<Cluster::Lease> lease, TopicHandle topic);
  Status Start(Inspector& inspector, const StartAt& start);
  // nullopt: nothing to hand out.
  Result<std::optional<Message>> Take(const rd_kafka_message_t& message);
  Status CheckTopicExists();
  // Makes the library look whether there is room to fetch ahead again.
  void WakeFetcher() const;
  Error Gap(std::string reason);
  Error AtDeadline();

  const std::string topic_name_;
  const std::unique_ptr<Cluster::Lease> lease_;
  Client* const client_;  // the lease's
  const TopicHandle topic_;
  const QueueHandle queue_;
  bool started_ = false;
  uint64_t taken_bytes_ = 0;                 // since the fetcher was woken
  std::optional<WallTime> not_before_;       // until the first message, when started by a time
  std::optional<RecordId> last_;             // handed out; unknown before the first
  std::optional<Error> gap_;                 // once set, every Next returns it
  std::optional<SteadyTime> missing_since_;  // the cluster said that there is no such topic
};

}  // namespace runnel::bus::kafka
