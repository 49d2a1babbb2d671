// A transactional librdkafka producer for one topic, with the settings that were measured to matter: idempotent, no
// lingering, the topic's metadata asked before the first message (else that one waits up to a second). Idempotence
// keeps retries in order and without repetition; the stamps keep strangers out.
//
// THREAD: Send from one thread; Poll, Flush and transactions from one thread, the same or another.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "bus/kafka/client.h"
#include "bus/kafka/stamp.h"

namespace runnel::bus::kafka {

class Producer {
 public:
  struct Options {
    uint64_t topic_bytes_max = 0;  // max.message.bytes of the topic
    uint32_t inflight_messages_max = 0;
    uint64_t inflight_bytes_max = 0;
  };
  // What became of one message.
  struct Delivery {
    uint64_t number = 0;
    rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
    Offset offset = -1;  // -1: delivered, but the broker no longer knows where
  };
  using OnDelivery = std::function<void(const Delivery&)>;

  // Every other transactional producer of this log is fenced when this returns, and its open transaction is aborted.
  // Errors: kUnavailable, kInvalid (credentials, permissions).
  static Result<std::unique_ptr<Producer>> Open(const Endpoint& endpoint, Options options);

  Client& client() { return *client_; }
  const Options& options() const { return options_; }
  // REQUIRES: nothing is on its way.
  void SetOnDelivery(OnDelivery on_delivery) { on_delivery_ = std::move(on_delivery); }

  // Queues one message. LIFETIME: the payload stays until its delivery was told, or the producer is gone.
  Status Send(const Stamp& stamp, std::string_view payload, uint64_t number);
  // Sends one message alone and waits for it. Errors: kUnavailable (the outcome is unknown; throw the producer away).
  Result<Offset> SendAndWait(const Stamp& stamp, std::string payload);
  // Drops what was not sent yet. What is on its way may still arrive.
  void Drop();
  // Another transactional producer of this log has begun, or this one slept longer than its transaction's time-out.
  bool fenced() const;

  Status Begin();
  Status Commit();
  void Abort();

 private:
  Producer(const Options& options, std::string topic) : options_(options), topic_name_(std::move(topic)) {}

  const Options options_;
  const std::string topic_name_;
  OnDelivery on_delivery_;
  std::string alone_;  // what SendAndWait sends: must outlive the client's threads
  std::unique_ptr<Client> client_;
  TopicHandle topic_;
};

}  // namespace runnel::bus::kafka
