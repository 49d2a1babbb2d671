// The leader's end of a JetStream log. Made by NatsLog::TakeOver, which has placed the marker.
//
// How I2 and I3 of bus.h hold: every message carries its own id and names the id of the message it must follow
// (Nats-Expected-Last-Msg-Id), so that after one foreign or lost message the server refuses all that were sent behind
// it. Expected sequences alone would not do: behind one refused message the next expectation comes true by accident.
// The first message after a takeover without marker follows by sequence instead: a restarted server forgets the last id
// once it is older than the dedupe window.
//
// The connection is the writer's own and never reconnects; whatever goes wrong (refusal, missing acknowledgement,
// broken connection) kills the writer and closes it, so that nothing of a dead writer is sent later. error() is
// kConflict only when it is proven that another writer leads: a message that is not ours lies behind our last
// acknowledged one. Every other refusal (the server has lost its tail, or forgot the last id, or a late message of an
// earlier writer of this very process came between) is kUnavailable: the decision of the next TakeOver sees the tail
// and knows.
#pragma once

#include <nats/nats.h>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

#include "bus/bus.h"
#include "bus/nats/handles.h"
#include "bus/nats/jetstream.h"
#include "bus/nats/session.h"

namespace runnel::bus::nats {

// Publishes one message that must come right behind `expected_last`, and waits for the answer. An answer that refuses
// is a value; errors: kUnavailable (the outcome is unknown).
Result<PublishAck> PublishBehind(Session& session, const StreamName& name, const std::string& id,
                                 StreamSeq expected_last, std::string_view payload);

// Appends a record without payload wherever the end of the log is: every writer that is appending is refused from here
// on.
Status PublishFence(Session& session, const StreamName& name, const std::string& id);

class NatsWriter : public LogWriter {
 public:
  struct Place {
    StreamName name;
    std::string leadership;  // unique text; message n of this writer has the id <leadership>-<n>, the marker n = 0
    StreamSeq tail;          // the message the first append must follow
    bool has_marker = false;
    uint64_t payload_bytes_max = 0;
  };

  // Errors: kUnavailable.
  static Result<std::unique_ptr<LogWriter>> Open(std::unique_ptr<Session> session, Place place, WriterOptions options);
  ~NatsWriter() override;

  Status Append(std::string payload, std::stop_token stop) override;
  uint64_t acked() const override;
  StreamSeq acked_seq() const override;
  Status error() const override;
  Status WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) override;
  uint64_t payload_bytes_max() const override { return place_.payload_bytes_max; }

 private:
  struct Sent {
    uint64_t bytes;
    SteadyTime at;
  };

  NatsWriter(std::unique_ptr<Session> session, Place place, WriterOptions options, SubscriptionHandle acks,
             std::string inbox);
  Status Publish(uint64_t number, std::string_view payload);
  void AckLoop(std::stop_token stop);
  bool Drain(std::stop_token stop, natsMsg* first);
  Status HandleAck(std::stop_token stop, natsMsg* message);
  Error Refused(std::stop_token stop, uint64_t number, const PublishAck& ack);
  bool ForeignMessageBehindOurs();
  bool HasInflight() const;
  Status CheckAckAge() const;
  void Die(const Error& error);

  // Constant after construction; the Session locks inside.
  const std::unique_ptr<Session> session_;
  const Place place_;
  const WriterOptions options_;
  const SubscriptionHandle acks_;
  const std::string inbox_;  // reply subject of message n is <inbox_>.<n>
  // Of the appending thread.
  uint64_t appended_ = 0;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  // Guarded by mutex_.
  std::deque<Sent> inflight_;
  uint64_t inflight_bytes_ = 0;
  uint64_t acked_ = 0;
  StreamSeq acked_seq_;
  Status error_;

  std::jthread ack_thread_;
};

}  // namespace runnel::bus::nats
