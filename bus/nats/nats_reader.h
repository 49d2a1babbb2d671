// The reading end of a JetStream log: an ephemeral pull consumer on a connection of its own, made anew whenever it may
// have lost its place.
//
// I1  Only the stream sequence counts. The next message must carry exactly the next sequence; a jump is a gap, whatever
// the
//     reason (trimmed, deleted, stream made again). So the consumer may be lost, repeat or skip at will.
//     Where a reader starts is settled when it is opened; a start beyond the end of the log is a gap (the log has lost
//     its end).
// I2  At every (re)connect, and whenever nothing came for a while, the stream itself is asked whether our place still
// exists:
//     same creation time, not trimmed beyond us, not shorter than what we have read.
// I3  At most kRequests open requests of kRequestBytes each: that is the memory a reader can fill when its owner is
// slow.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "bus/bus.h"
#include "bus/nats/handles.h"
#include "bus/nats/jetstream.h"
#include "bus/nats/session.h"

namespace runnel::bus::nats {

class NatsReader : public LogReader {
 public:
  // Errors: kUnavailable, kNotFound (no such stream), kInvalid.
  static Result<std::unique_ptr<LogReader>> Open(const Endpoint& endpoint, size_t server, StreamName name,
                                                 StartAt start);
  ~NatsReader() override;

  // A lost connection is made again inside; that may overrun the deadline by the endpoint's timeout.
  Result<Message> Next(SteadyTime deadline, std::stop_token stop) override;

 private:
  struct Request {
    uint64_t id;  // the last token of its inbox subject
    uint32_t messages_left;
    bool untouched;
  };
  // What one wait on the subscription brought.
  struct Nothing {};
  struct Fence {
    StreamSeq seq;
  };
  struct Lost {
    std::string reason;
  };
  using Event = std::variant<Nothing, Lost, Fence, Message>;

  NatsReader(const Endpoint& endpoint, size_t server, StreamName name, StartAt start)
      : endpoint_(endpoint), name_(std::move(name)), start_(start), next_server_(server) {}

  Status Attach();
  Status ResolveStart(const StreamInfo& info);
  void Detach();
  Status VerifyPlace();
  Status CheckPlace(const StreamInfo& info) const;
  Status FillRequests();
  Event Wait(SteadyTime deadline);
  Event TakeMessage(natsMsg* message);
  Event TakeStatus(natsMsg* message);
  void RequestEnded(uint64_t id);
  Status Admit(StreamSeq seq);

  const Endpoint& endpoint_;  // the Log's
  const StreamName name_;
  const StartAt start_;

  size_t next_server_;
  std::string incarnation_;        // empty before the first attach
  std::optional<StreamSeq> next_;  // unknown until the first message when started by a time
  std::optional<Error> gap_;       // once set, every Next returns it

  // Of the current attachment; null when detached.
  std::unique_ptr<Session> session_;
  SubscriptionHandle subscription_;
  std::string inbox_;
  std::string pull_subject_;
  std::deque<Request> requests_;  // open ones, oldest first: the server serves them in this order
  uint64_t last_request_ = 0;
  uint64_t request_bytes_ = 0;
  SteadyTime heard_at_;
  std::chrono::milliseconds slice_{50};  // of the next wait
  bool verify_ = false;

  // Reconnect pacing.
  SteadyTime retry_at_;
  std::chrono::milliseconds retry_wait_{0};
  std::mutex mutex_;  // only to sleep with a stop token
  std::condition_variable_any never_;
};

}  // namespace runnel::bus::nats
