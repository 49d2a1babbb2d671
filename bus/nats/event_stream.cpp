#include "bus/nats/event_stream.h"

#include <charconv>
#include <deque>
#include <utility>

#include <fmt/format.h>

#include "bus/nats/jetstream.h"
#include "bus/nats/session.h"

namespace runnel::bus::nats {
namespace {

// Written but not acknowledged; a stream on disk acknowledges in well under a millisecond, so this fills the pipe.
constexpr size_t kInflightMessagesMax = 4096;
constexpr uint64_t kInflightBytesMax = 8 << 20;
// How often a wait for acknowledgements looks whether it should stop.
constexpr int64_t kAckPollMs = 100;
// Room for our headers in the server's max_payload.
constexpr uint64_t kHeadroomBytes = 4096;

class EventStream : public EventWriter {
 public:
  EventStream(std::unique_ptr<Session> session, StreamName name, std::string prefix)
      : session_(std::move(session)), name_(std::move(name)), prefix_(std::move(prefix)) {}
  ~EventStream() override { session_->Close(); }

  Status Open(const StreamSettings& settings);

  Result<std::optional<std::string>> LastId(std::stop_token) override { return last_stored_; }
  Status Write(const OutboundEvent& event, std::stop_token stop) override;
  Status Flush(std::stop_token stop) override;
  uint64_t waiting_bytes() const override { return inflight_bytes_; }
  std::string location() const override { return fmt::format("nats://{} stream {}", session_->server(), name_.stream); }

 private:
  Status OpenAcks();
  Status Send(const OutboundEvent& event);
  // Takes in acknowledgements that are here; waits for one if `wait`.
  Status TakeAcks(bool wait, const std::stop_token& stop);
  Status HandleAck(natsMsg* message);
  Error LibraryError(natsStatus status) const {
    return session_->Unavailable("write to stream " + name_.stream, status);
  }

  const std::unique_ptr<Session> session_;
  const StreamName name_;
  const std::string prefix_;
  SubscriptionHandle acks_;
  std::string inbox_;
  std::optional<std::string> last_stored_;
  StreamSeq tail_;  // the first message must follow
  uint64_t payload_bytes_max_ = 0;
  std::string previous_id_;  // of the message sent last
  uint64_t sent_ = 0;
  uint64_t acked_ = 0;
  std::deque<uint64_t> inflight_;  // their sizes
  uint64_t inflight_bytes_ = 0;
  SteadyTime waiting_since_;
};

Status EventStream::Open(const StreamSettings& settings) {
  Result<StreamInfo> info = GetStream(*session_, name_);
  if (!info.ok() && info.code() == Errc::kNotFound) {
    Status created = CreateStream(*session_, name_, settings);
    if (!created.ok() && created.code() != Errc::kConflict) return created;
    info = GetStream(*session_, name_);
  }
  if (!info.ok()) return info.error();
  TRY_ASSIGN(std::optional<StoredMessage> tail, GetTail(*session_, name_, *info));
  if (tail && !tail->id.empty()) last_stored_ = tail->id;
  if (tail && tail->id.empty()) {
    return Error(Errc::kRefused,
                 fmt::format("stream {} ends with a message that is no event: another program writes to "
                             "{}.>; give the feed another prefix",
                             name_.stream, prefix_));
  }
  tail_ = info->last_seq;
  uint64_t max = session_->max_payload();
  if (info->message_bytes_max != 0) max = std::min(max, info->message_bytes_max);
  payload_bytes_max_ = max > kHeadroomBytes ? max - kHeadroomBytes : 0;
  return OpenAcks();
}

Status EventStream::OpenAcks() {
  natsInbox* raw_inbox = nullptr;
  natsStatus status = natsInbox_Create(&raw_inbox);
  if (status != NATS_OK) return LibraryError(status);
  const InboxHandle inbox(raw_inbox);
  inbox_ = raw_inbox;
  natsSubscription* raw_acks = nullptr;
  status = natsConnection_SubscribeSync(&raw_acks, session_->connection(), (inbox_ + ".*").c_str());
  acks_.reset(raw_acks);
  if (status == NATS_OK) status = natsSubscription_SetPendingLimits(raw_acks, -1, -1);
  return status == NATS_OK ? Ok() : Status(LibraryError(status));
}

Status EventStream::Write(const OutboundEvent& event, std::stop_token stop) {
  if (event.payload.size() > payload_bytes_max_) {
    return Error(Errc::kInvalid,
                 fmt::format("an event of {} bytes, stream {} takes {}: raise the server's max_payload or "
                             "cut values with --max-value",
                             event.payload.size(), name_.stream, payload_bytes_max_));
  }
  TRY(TakeAcks(false, stop));
  while (inflight_.size() >= kInflightMessagesMax || inflight_bytes_ >= kInflightBytesMax) TRY(TakeAcks(true, stop));
  return Send(event);
}

Status EventStream::Send(const OutboundEvent& event) {
  std::string subject = prefix_;
  subject += '.';
  subject += event.topic;
  std::string id(event.id);
  ++sent_;
  natsMsg* raw = nullptr;
  natsStatus status = natsMsg_Create(&raw, subject.c_str(), fmt::format("{}.{}", inbox_, sent_).c_str(),
                                     event.payload.data(), static_cast<int>(event.payload.size()));
  const MessageHandle message(raw);
  if (status == NATS_OK) status = natsMsgHeader_Set(raw, "Nats-Msg-Id", id.c_str());
  if (status == NATS_OK && !event.key.empty()) {
    status = natsMsgHeader_Set(raw, "Runnel-Key", std::string(event.key).c_str());
  }
  if (status == NATS_OK && sent_ == 1) {
    status = natsMsgHeader_Set(raw, "Nats-Expected-Last-Sequence", std::to_string(tail_.raw()).c_str());
    if (status == NATS_OK) status = natsMsgHeader_Set(raw, "Nats-Expected-Stream", name_.stream.c_str());
  } else if (status == NATS_OK) {
    status = natsMsgHeader_Set(raw, "Nats-Expected-Last-Msg-Id", previous_id_.c_str());
  }
  if (status == NATS_OK) status = natsConnection_PublishMsg(session_->connection(), raw);
  if (status != NATS_OK) return LibraryError(status);
  previous_id_ = std::move(id);
  if (inflight_.empty()) waiting_since_ = std::chrono::steady_clock::now();
  inflight_.push_back(event.payload.size());
  inflight_bytes_ += event.payload.size();
  return Ok();
}

Status EventStream::TakeAcks(bool wait, const std::stop_token& stop) {
  while (true) {
    natsMsg* raw = nullptr;
    natsStatus status = natsSubscription_NextMsg(&raw, acks_.get(), wait ? kAckPollMs : 0);
    const MessageHandle message(raw);
    if (status == NATS_OK) {
      TRY(HandleAck(raw));
      waiting_since_ = std::chrono::steady_clock::now();
      wait = false;
      continue;
    }
    if (status != NATS_TIMEOUT) return LibraryError(status);
    if (!wait) return Ok();
    if (stop.stop_requested()) return Error(Errc::kCancelled, "write to stream " + name_.stream);
    if (std::chrono::steady_clock::now() - waiting_since_ > session_->timeout()) {
      return Error(Errc::kUnavailable, fmt::format("nats server {}: no acknowledgement from stream {} for {} ms",
                                                   session_->server(), name_.stream, session_->timeout().count()));
    }
  }
}

Status EventStream::HandleAck(natsMsg* message) {
  if (natsMsg_IsNoResponders(message)) {
    return Error(Errc::kUnavailable, fmt::format("stream {} takes no messages", name_.stream));
  }
  const std::string_view subject = natsMsg_GetSubject(message);
  const std::string_view token = subject.substr(std::min(inbox_.size() + 1, subject.size()));
  uint64_t number = 0;
  std::from_chars(token.data(), token.data() + token.size(), number);
  const PublishAck ack =
      ParsePublishAck(std::string_view(natsMsg_GetData(message), static_cast<size_t>(natsMsg_GetDataLength(message))));
  if (!ack.accepted) {
    // A late message of an earlier feed, or another feed: the stream's end says how to go on.
    return Error(Errc::kUnavailable,
                 fmt::format("stream {} refused an event: {} ({})", name_.stream, ack.error, ack.error_code));
  }
  if (number > sent_) return Ok();
  // The chain: the server took this message only because it had taken all before it.
  for (; acked_ < number; ++acked_) {
    inflight_bytes_ -= inflight_.front();
    inflight_.pop_front();
  }
  return Ok();
}

Status EventStream::Flush(std::stop_token stop) {
  while (!inflight_.empty()) TRY(TakeAcks(true, stop));
  return Ok();
}

}  // namespace

Result<std::unique_ptr<EventWriter>> OpenEventStream(const Url& url, const OpenOptions& options) {
  TRY_ASSIGN(Endpoint endpoint, MakeEndpoint(url, options));
  TRY_ASSIGN(std::unique_ptr<Session> session, Session::Connect(endpoint, 0));
  StreamName name{"RUNNEL-FEED-" + url.name, url.name + ".>"};
  auto stream = std::make_unique<EventStream>(std::move(session), std::move(name), url.name);
  TRY(stream->Open({options.replicas, options.retention}));
  return std::unique_ptr<EventWriter>(std::move(stream));
}

}  // namespace runnel::bus::nats
