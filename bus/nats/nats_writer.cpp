#include "bus/nats/nats_writer.h"

#include <pthread.h>

#include <charconv>

#include <fmt/format.h>

namespace runnel::bus::nats {
namespace {

// How often the ack thread looks at the clock while an acknowledgement is due, and while none is.
constexpr int64_t kAckPollMs = 100;
constexpr int64_t kIdlePollMs = 1000;
// Acknowledgements taken in before on_progress is called once for all of them.
constexpr int kAcksPerWake = 128;
// How long a refused writer looks for the marker of the writer that fenced it.
constexpr int kConflictLooks = 20;
constexpr std::chrono::milliseconds kConflictWait(50);

std::string MessageId(const std::string& leadership, uint64_t number) {
  return fmt::format("{}-{}", leadership, number);
}

Error LibraryError(const Session& session, const StreamName& name, natsStatus status) {
  return session.Unavailable("append to stream " + name.stream, status);
}

struct Headers {
  std::string id;
  std::string after_id;  // Nats-Expected-Last-Msg-Id; empty: by sequence
  StreamSeq after_seq;
};

natsStatus MakeMessage(const StreamName& name, const std::string& reply, const Headers& headers,
                       std::string_view payload, MessageHandle& message) {
  natsMsg* raw = nullptr;
  natsStatus status = natsMsg_Create(&raw, name.subject.c_str(), reply.empty() ? nullptr : reply.c_str(),
                                     payload.data(), static_cast<int>(payload.size()));
  message.reset(raw);
  if (status == NATS_OK) status = natsMsgHeader_Set(raw, "Nats-Msg-Id", headers.id.c_str());
  if (status == NATS_OK && !headers.after_id.empty()) {
    return natsMsgHeader_Set(raw, "Nats-Expected-Last-Msg-Id", headers.after_id.c_str());
  }
  // Set by hand: the library takes a sequence of 0 (an empty log) for "not set".
  const std::string seq = std::to_string(headers.after_seq.raw());
  if (status == NATS_OK) status = natsMsgHeader_Set(raw, "Nats-Expected-Last-Sequence", seq.c_str());
  if (status == NATS_OK) status = natsMsgHeader_Set(raw, "Nats-Expected-Stream", name.stream.c_str());
  return status;
}

}  // namespace

Result<PublishAck> PublishBehind(Session& session, const StreamName& name, const std::string& id,
                                 StreamSeq expected_last, std::string_view payload) {
  MessageHandle message;
  const natsStatus status = MakeMessage(name, "", Headers{id, "", expected_last}, payload, message);
  if (status != NATS_OK) return LibraryError(session, name, status);
  TRY_ASSIGN(const std::string answer, session.Request(message.get()));
  return ParsePublishAck(answer);
}

Status PublishFence(Session& session, const StreamName& name, const std::string& id) {
  natsMsg* raw = nullptr;
  natsStatus status = natsMsg_Create(&raw, name.subject.c_str(), nullptr, nullptr, 0);
  const MessageHandle message(raw);
  if (status == NATS_OK) status = natsMsgHeader_Set(raw, "Nats-Msg-Id", id.c_str());
  if (status == NATS_OK) status = natsMsgHeader_Set(raw, kFenceHeader, "1");
  if (status != NATS_OK) return LibraryError(session, name, status);
  TRY_ASSIGN(const std::string answer, session.Request(raw));
  const PublishAck ack = ParsePublishAck(answer);
  if (ack.accepted) return Ok();
  return Error(Errc::kUnavailable, fmt::format("stream {} refused a fence: {}", name.stream, Refusal(ack)));
}

Result<std::unique_ptr<LogWriter>> NatsWriter::Open(std::unique_ptr<Session> session, Place place,
                                                    WriterOptions options) {
  natsInbox* raw_inbox = nullptr;
  natsStatus status = natsInbox_Create(&raw_inbox);
  if (status != NATS_OK) return LibraryError(*session, place.name, status);
  const InboxHandle inbox_owner(raw_inbox);
  const std::string inbox = raw_inbox;
  natsSubscription* raw_acks = nullptr;
  status = natsConnection_SubscribeSync(&raw_acks, session->connection(), (inbox + ".*").c_str());
  SubscriptionHandle acks(raw_acks);
  // Bounded by the window of unacknowledged messages; a dropped acknowledgement would kill the writer for nothing.
  if (status == NATS_OK) status = natsSubscription_SetPendingLimits(raw_acks, -1, -1);
  if (status != NATS_OK) return LibraryError(*session, place.name, status);
  return std::unique_ptr<LogWriter>(
      new NatsWriter(std::move(session), std::move(place), std::move(options), std::move(acks), inbox));
}

NatsWriter::NatsWriter(std::unique_ptr<Session> session, Place place, WriterOptions options, SubscriptionHandle acks,
                       std::string inbox)
    : session_(std::move(session)),
      place_(std::move(place)),
      options_(std::move(options)),
      acks_(std::move(acks)),
      inbox_(std::move(inbox)),
      acked_seq_(place_.tail),
      ack_thread_([this](std::stop_token stop) { AckLoop(stop); }) {
  pthread_setname_np(ack_thread_.native_handle(), "nats-acks");
}

NatsWriter::~NatsWriter() {
  ack_thread_.request_stop();
  session_->Close();  // also wakes the ack thread
  ack_thread_.join();
}

Status NatsWriter::Append(std::string payload, std::stop_token stop) {
  if (payload.size() > place_.payload_bytes_max) {
    return Error(Errc::kInvalid, fmt::format("message of {} bytes, stream {} takes {}", payload.size(),
                                             place_.name.stream, place_.payload_bytes_max));
  }
  {
    std::unique_lock<std::mutex> lock(mutex_);
    const bool room = changed_.wait(lock, stop, [this, &payload] {
      if (!error_.ok() || inflight_.empty()) return true;
      return inflight_.size() < options_.inflight_messages_max &&
             inflight_bytes_ + payload.size() <= options_.inflight_bytes_max;
    });
    if (!error_.ok()) return error_;
    if (!room) return Error(Errc::kCancelled, "append to stream " + place_.name.stream);
    // Counted before it is sent: its acknowledgement may be here before the call that sends it returns.
    inflight_.push_back(Sent{payload.size(), std::chrono::steady_clock::now()});
    inflight_bytes_ += payload.size();
  }
  ++appended_;
  const Status sent = Publish(appended_, payload);
  if (!sent.ok()) Die(sent.error());
  return sent;
}

Status NatsWriter::Publish(uint64_t number, std::string_view payload) {
  Headers headers;
  headers.id = MessageId(place_.leadership, number);
  if (number > 1 || place_.has_marker) {
    headers.after_id = MessageId(place_.leadership, number - 1);
  } else {
    headers.after_seq = place_.tail;
  }
  MessageHandle message;
  natsStatus status = MakeMessage(place_.name, fmt::format("{}.{}", inbox_, number), headers, payload, message);
  if (status == NATS_OK) status = natsConnection_PublishMsg(session_->connection(), message.get());
  if (status != NATS_OK) return LibraryError(*session_, place_.name, status);
  return Ok();
}

void NatsWriter::AckLoop(std::stop_token stop) {
  while (!stop.stop_requested()) {
    natsMsg* message = nullptr;
    const natsStatus status = natsSubscription_NextMsg(&message, acks_.get(), HasInflight() ? kAckPollMs : kIdlePollMs);
    if (stop.stop_requested()) {
      natsMsg_Destroy(message);
      return;
    }
    if (status == NATS_OK) {
      if (!Drain(stop, message)) return;
      continue;
    }
    const Status aged = CheckAckAge();
    if (status == NATS_TIMEOUT && aged.ok()) continue;
    Die(status == NATS_TIMEOUT ? aged.error() : LibraryError(*session_, place_.name, status));
    return;
  }
}

// Takes in `first` and what has come since, then tells the owner once. False when the writer died of it.
bool NatsWriter::Drain(std::stop_token stop, natsMsg* first) {
  MessageHandle message(first);
  Status status;
  for (int i = 1; message != nullptr; ++i) {
    status = HandleAck(stop, message.get());
    natsMsg* next = nullptr;
    if (status.ok() && i < kAcksPerWake && natsSubscription_NextMsg(&next, acks_.get(), 0) != NATS_OK) next = nullptr;
    message.reset(next);
  }
  if (!status.ok()) {
    Die(status.error());
    return false;
  }
  changed_.notify_all();
  if (options_.on_progress) options_.on_progress();
  return true;
}

Status NatsWriter::HandleAck(std::stop_token stop, natsMsg* message) {
  if (natsMsg_IsNoResponders(message)) {
    return Error(Errc::kUnavailable,
                 fmt::format("stream {} takes no messages: deleted, or without a leader", place_.name.stream));
  }
  const std::string_view subject = natsMsg_GetSubject(message);
  const std::string_view token = subject.substr(std::min(inbox_.size() + 1, subject.size()));
  uint64_t number = 0;
  std::from_chars(token.data(), token.data() + token.size(), number);
  const PublishAck ack =
      ParsePublishAck(std::string_view(natsMsg_GetData(message), static_cast<size_t>(natsMsg_GetDataLength(message))));
  if (!ack.accepted || ack.duplicate) return Refused(stop, number, ack);
  const std::lock_guard<std::mutex> lock(mutex_);
  if (number <= acked_ || number - acked_ > inflight_.size()) return Ok();  // not ours to count
  // The chain: the server took this message only because it had taken all before it, whatever became of their answers.
  for (; acked_ < number; ++acked_) {
    inflight_bytes_ -= inflight_.front().bytes;
    inflight_.pop_front();
  }
  acked_seq_ = ack.seq;
  return Ok();
}

Error NatsWriter::Refused(std::stop_token stop, uint64_t number, const PublishAck& ack) {
  const std::string text = fmt::format("stream {} refused message {} of this writer: {}", place_.name.stream, number,
                                       ack.duplicate ? "a message with its id is there already" : Refusal(ack));
  // Without a marker of ours, what is in front of our first message may be a late one of this process's own last
  // writer.
  const bool behind_ours = ack.error_code == kWrongLastMessageId;
  // A fence announces a takeover: the rival is given the time to place its marker.
  for (int i = 0; behind_ours && i < kConflictLooks && !stop.stop_requested(); ++i) {
    if (ForeignMessageBehindOurs()) return Error(Errc::kConflict, text + ": another writer leads");
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait_for(lock, stop, kConflictWait, [] { return false; });
  }
  return Error(Errc::kUnavailable, text);
}

bool NatsWriter::ForeignMessageBehindOurs() {
  const Result<StreamInfo> info = GetStream(*session_, place_.name);
  if (!info.ok()) return false;
  const Result<std::optional<StoredMessage>> tail = GetTail(*session_, place_.name, *info);
  if (!tail.ok() || !tail->has_value()) return false;
  return (*tail)->message.seq > acked_seq() && !(*tail)->id.starts_with(place_.leadership);
}

bool NatsWriter::HasInflight() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return !inflight_.empty();
}

Status NatsWriter::CheckAckAge() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (inflight_.empty() || std::chrono::steady_clock::now() - inflight_.front().at < session_->timeout()) return Ok();
  return Error(Errc::kUnavailable, fmt::format("nats server {}: no acknowledgement from stream {} for {} ms",
                                               session_->server(), place_.name.stream, session_->timeout().count()));
}

void NatsWriter::Die(const Error& error) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (!error_.ok()) return;
    error_ = error;
  }
  session_->Close();
  changed_.notify_all();
  if (options_.on_progress) options_.on_progress();
}

uint64_t NatsWriter::acked() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return acked_;
}

StreamSeq NatsWriter::acked_seq() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return acked_seq_;
}

Status NatsWriter::error() const {
  const std::lock_guard<std::mutex> lock(mutex_);
  return error_;
}

Status NatsWriter::WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) {
  std::unique_lock<std::mutex> lock(mutex_);
  const bool done =
      changed_.wait_until(lock, stop, deadline, [this, count] { return acked_ >= count || !error_.ok(); });
  if (acked_ >= count) return Ok();
  if (done) return error_;
  if (stop.stop_requested()) return Error(Errc::kCancelled, "wait for acknowledgements");
  return Error(Errc::kTimeout,
               fmt::format("stream {}: {} of {} messages acknowledged", place_.name.stream, acked_, count));
}

}  // namespace runnel::bus::nats
