// The few calls of the JetStream API that a log needs, as JSON requests on $JS.API subjects.
//
// Not through nats.c's js_* functions: those of 3.4 know the server's settings of 2022 only and drop the rest, so that
// a danger like "persist_mode": "async" would stay unseen; and their helpers reconnect, recreate and resend behind our
// back. Messages are read from the stream's leader (STREAM.MSG.GET), never by direct get: a direct get may be answered
// by a replica that is behind, and the tail decides who leads.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "bus/bus.h"
#include "bus/nats/session.h"
#include "ltx/base/result.h"

namespace runnel::bus::nats {

// Where one database's log lives.
struct StreamName {
  std::string stream;   // RUNNEL-<name>
  std::string subject;  // runnel.<name>.log
};
StreamName StreamNameOf(std::string_view database);

// What the server says about a stream.
struct StreamInfo {
  std::string created;  // as the server wrote it: our incarnation
  StreamSeq first_seq;  // last_seq + 1 when empty
  StreamSeq last_seq;
  uint64_t message_count = 0;
  uint64_t bytes = 0;
  uint64_t message_bytes_max = 0;  // 0: no limit of the stream's own
  std::vector<std::string> dangers;
  // Limits at which the server refuses messages: nothing in the stream is lost, but a writer has to wait for room.
  std::vector<std::string> limits;
};

struct StreamSettings {
  uint32_t replicas = 1;
  std::chrono::nanoseconds max_age{0};  // 0: kept for ever
};

// Errors of all: kUnavailable, kNotFound (no such stream), kInvalid (JetStream is off for this account), kRefused.

Result<StreamInfo> GetStream(Session& session, const StreamName& name);
// kConflict: a stream of this name exists with other settings.
Status CreateStream(Session& session, const StreamName& name, const StreamSettings& settings);
// Removes all messages before `seq`. REQUIRES: seq > 1 and seq <= last_seq + 1 (the server jumps to `seq` otherwise).
Status PurgeBefore(Session& session, const StreamName& name, StreamSeq seq);

// A message as the stream holds it.
struct StoredMessage {
  Message message;
  std::string id;      // its Nats-Msg-Id; empty: it has none, so it is not a writer's of ours
  bool fence = false;  // an adapter's own record without payload, never shown to anybody (NatsLog::TakeOver)
};
inline constexpr const char* kFenceHeader = "Runnel-Fence";

// The newest message that is no fence; nullopt: none. `info` is what GetStream just said.
Result<std::optional<StoredMessage>> GetTail(Session& session, const StreamName& name, const StreamInfo& info);
// The first message at or behind `seq` that is no fence; nullopt: none.
Result<std::optional<StoredMessage>> GetFirstFrom(Session& session, const StreamName& name, StreamSeq seq);

// Makes a pull consumer without acknowledgements, kept in the server's memory; returns its name.
Result<std::string> CreateConsumer(Session& session, const StreamName& name, const StartAt& start);
std::string PullSubject(const StreamName& name, std::string_view consumer);
struct PullRequest {
  uint32_t messages_max;
  uint64_t bytes_max;
  std::chrono::nanoseconds expires;
  std::chrono::nanoseconds heartbeat;
};
std::string ToJson(const PullRequest& request);

// The server's answer to one published message.
struct PublishAck {
  bool accepted = false;
  bool duplicate = false;
  StreamSeq seq;
  int error_code = 0;  // JetStream's: 10071 wrong last sequence, 10070 wrong last message id
  std::string error;
};
inline constexpr int kWrongLastSequence = 10071;
inline constexpr int kWrongLastMessageId = 10070;
PublishAck ParsePublishAck(std::string_view body);
// Why a message was not accepted, for people; of a stream that is full, with what to change.
std::string Refusal(const PublishAck& ack);

}  // namespace runnel::bus::nats
