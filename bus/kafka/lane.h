// A log's place on a producer client, which a few logs may share: one thread of ours per client tells all of them what
// became of their messages.
//
// The first logs of a process each have a client of their own, all others share a second set of clients: so a node with
// any number of logs has a bounded number of producers. Each may have several requests on their way, so that one
// topic's round trip does not hold up the others.
//
// What sharing costs: a failure that could leave a hole in one log stops the client, and all logs on it take over
// again; and what a log has queued on a shared client cannot be taken back, so it goes out (displaced, if somebody else
// leads by then).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>

#include "bus/kafka/client.h"
#include "bus/kafka/producer.h"
#include "bus/kafka/stamp.h"
#include "ltx/base/sync.h"

namespace runnel::bus::kafka {

// What a lane is told, all by the client's thread: short, and never waiting.
struct LaneEvents {
  std::function<void(const Producer::Delivery&)> on_delivery;
  std::function<void()> on_polled;  // at the end of a turn of the thread, at least twice a second
};

class Lane;

// One idempotent producer client and the thread that polls it. THREAD: any.
class LaneClient {
 public:
  struct Options {
    uint64_t batch_bytes = 0;
    bool own = true;  // for one log
  };
  // No connection is made. Errors: kInvalid.
  static Result<std::shared_ptr<LaneClient>> Open(const Servers& servers, const Options& options);
  ~LaneClient();

  Client& client() { return *client_; }
  const Options& options() const { return options_; }
  bool broken() const;
  size_t lane_count() const EXCLUDES_LOCK(mutex_);

 private:
  friend class Lane;
  explicit LaneClient(const Options& options) : options_(options) {}
  void PollLoop(std::stop_token stop);

  const Options options_;
  mutable Mutex mutex_;
  std::set<Lane*> lanes_ GUARDED_BY(mutex_);
  std::unique_ptr<Client> client_;
  QueueHandle main_queue_;
  std::jthread thread_;  // ends first
};

// THREAD: Send from one thread at a time; the rest any.
class Lane {
 public:
  // Waits until the client knows the topic: else the first message waits up to a second. Errors: as
  // Client::AskMetadata.
  static Result<std::unique_ptr<Lane>> Open(std::shared_ptr<LaneClient> client, const std::string& topic);
  // What is on its way stays on its way.
  ~Lane();
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  Client& client() { return client_->client(); }
  bool broken() const { return client_->broken(); }

  // On return of Listen({}) nothing of the former listener runs any more. Not from inside an event.
  void Listen(LaneEvents events);
  Status Send(const Stamp& stamp, std::shared_ptr<const std::string> payload, uint64_t number);
  // Sends one message alone and waits for it. REQUIRES: nobody listens. Errors: kUnavailable (the outcome is unknown).
  Result<Offset> SendAndWait(const Stamp& stamp, std::string payload);
  // Drops what was not sent yet, if no other log is on this client.
  void Drop();
  // Waits until the fate of all messages is known. Errors: kTimeout, kCancelled.
  Status AwaitNothingOnItsWay(SteadyTime deadline, std::stop_token stop);

 private:
  friend class LaneClient;
  // Outlives the lane as long as messages of it are on their way.
  struct State {
    // Held while an event runs, so that Listen can promise its end. Sending does not take it.
    Mutex events_mutex;
    LaneEvents events GUARDED_BY(events_mutex);
    Mutex mutex;
    CondVar changed;
    uint64_t outstanding GUARDED_BY(mutex) = 0;
  };
  struct Sent {
    std::shared_ptr<State> lane;
    std::shared_ptr<const std::string> payload;
    uint64_t number = 0;
  };
  Lane(std::shared_ptr<LaneClient> client, std::string topic_name, TopicHandle topic);
  static void Deliver(const rd_kafka_message_t& message);

  const std::shared_ptr<LaneClient> client_;
  const std::string topic_name_;
  const TopicHandle topic_;
  const std::shared_ptr<State> state_ = std::make_shared<State>();
};

}  // namespace runnel::bus::kafka
