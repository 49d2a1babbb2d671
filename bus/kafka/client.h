// One librdkafka instance: configured, with its error texts kept, and its C error codes turned into ours.
//
// Each instance has a main thread and a thread per broker it knows (on a cluster of n brokers: n + 2).
// THREAD: any (librdkafka locks inside), but only one thread polls. LIFETIME: topics and queues of a client go before
// it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bus/kafka/endpoint.h"
#include "bus/kafka/handles.h"
#include "bus/kafka/statistics.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "ltx/base/time.h"

namespace runnel::bus::kafka {

// A frozen broker is given up after this, not after the library's 60 s.
inline constexpr std::chrono::milliseconds kSocketTimeout(5000);

class Client {
 public:
  using Properties = std::vector<std::pair<std::string, std::string>>;
  // Called for each message whose fate is known, from the thread that polls.
  using OnDelivery = std::function<void(const rd_kafka_message_t&)>;

  struct Options {
    rd_kafka_type_t type = RD_KAFKA_CONSUMER;
    Properties properties;  // on top of those of the servers
    OnDelivery on_delivery;
    bool statistics = false;  // kept from time to time; of a client that is polled
  };

  // No connection is made. Errors: kInvalid (librdkafka does not take a property: an unreadable TLS file, ...).
  static Result<std::unique_ptr<Client>> Make(const Servers& servers, Options options);
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  rd_kafka_t* get() const { return handle_.get(); }
  std::chrono::milliseconds timeout() const { return servers_.timeout; }
  int timeout_ms() const { return static_cast<int>(servers_.timeout.count()); }

  // Lets librdkafka deliver what it has to say (errors; of producers also deliveries), waiting up to `wait` for it.
  void Poll(std::chrono::milliseconds wait) { rd_kafka_poll(get(), static_cast<int>(wait.count())); }

  // Set when no broker could be reached; a caller who hears from one clears it.
  bool all_brokers_down() const { return all_brokers_down_; }
  void HeardFromBroker() { all_brokers_down_ = false; }

  // As of the last time librdkafka told them; all 0 without Options::statistics.
  ClientNumbers numbers() const;

  // The error of an operation, with the newest words of librdkafka. kInvalid: credentials or permissions; kNotFound: no
  // such topic; kTimeout never; else kUnavailable.
  Error MakeError(std::string_view what, rd_kafka_resp_err_t code);
  Error MakeError(std::string_view what, const rd_kafka_error_t& error);

  // The topic as the cluster knows it, waiting for the cluster up to its time-out. Errors: as MakeError.
  Result<MetadataHandle> AskMetadata(rd_kafka_topic_t* topic);

 private:
  Client(Servers servers, OnDelivery on_delivery)
      : servers_(std::move(servers)), on_delivery_(std::move(on_delivery)) {}
  void NoteError(rd_kafka_resp_err_t code, const char* reason);
  void NoteStatistics(std::string_view json);
  bool refused() const;
  Error Describe(std::string_view what, rd_kafka_resp_err_t code, std::string_view text);

  const Servers servers_;
  const OnDelivery on_delivery_;
  std::atomic<bool> all_brokers_down_ = false;
  mutable Mutex mutex_;
  rd_kafka_resp_err_t last_code_ GUARDED_BY(mutex_) = RD_KAFKA_RESP_ERR_NO_ERROR;
  std::string last_reason_ GUARDED_BY(mutex_);
  ClientNumbers numbers_ GUARDED_BY(mutex_);
  // Last: its threads call into the members above until it is gone.
  ClientHandle handle_;
};

}  // namespace runnel::bus::kafka
