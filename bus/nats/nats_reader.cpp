#include "bus/nats/nats_reader.h"

#include <algorithm>
#include <charconv>

#include <fmt/format.h>

#include "bus/nats/text.h"

namespace runnel::bus::nats {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

// Two requests, so that one is always filled while the other is asked for anew.
constexpr size_t kRequests = 2;
constexpr uint32_t kRequestMessages = 512;
constexpr uint64_t kRequestBytes = 4 << 20;
// The server counts subject, headers and reply too.
constexpr uint64_t kRequestSlackBytes = 64 << 10;
// The server says "still here" this often; three times nothing, and the consumer or its server is gone.
constexpr seconds kHeartbeat(2);
constexpr seconds kSilenceMax(6);
constexpr seconds kRequestExpires(5);
// The library's wait knows no stop token: it is cut into slices, longer ones while nothing comes.
constexpr milliseconds kSliceMin(50);
constexpr milliseconds kSliceMax(400);
constexpr milliseconds kRetryWaitMin(100);
constexpr milliseconds kRetryWaitMax(2000);

milliseconds CeilMs(steady_clock::duration duration) {
  return std::max(milliseconds(0), std::chrono::ceil<milliseconds>(duration));
}

std::string_view Header(natsMsg* message, const char* key) {
  const char* value = nullptr;
  if (natsMsgHeader_Get(message, key, &value) != NATS_OK || value == nullptr) return {};
  return value;
}

}  // namespace

Result<std::unique_ptr<LogReader>> NatsReader::Open(const Endpoint& endpoint, size_t server, StreamName name,
                                                    StartAt start) {
  std::unique_ptr<NatsReader> reader(new NatsReader(endpoint, server, std::move(name), start));
  Status attached = reader->Attach();
  if (!attached.ok() && attached.code() != Errc::kGap) return attached.error();
  if (!attached.ok()) reader->gap_ = attached.error();  // it is Next that reports gaps
  return std::unique_ptr<LogReader>(std::move(reader));
}

NatsReader::~NatsReader() { Detach(); }

Result<Message> NatsReader::Next(SteadyTime deadline, std::stop_token stop) {
  while (true) {
    if (gap_.has_value()) return *gap_;
    if (stop.stop_requested()) return Error(Errc::kCancelled, "read stream " + name_.stream);
    if (session_ == nullptr) {
      std::unique_lock<std::mutex> lock(mutex_);
      never_.wait_until(lock, stop, std::min(deadline, retry_at_), [] { return false; });
    }
    Status ready = session_ == nullptr ? Attach() : Ok();
    if (ready.ok() && verify_) ready = VerifyPlace();
    if (ready.ok() && session_ == nullptr) continue;  // a consumer that was left behind
    if (ready.ok()) ready = FillRequests();
    if (!ready.ok() && ready.code() == Errc::kGap) {
      gap_ = ready.error();
      continue;
    }
    if (!ready.ok()) {
      Detach();
      if (steady_clock::now() >= deadline) return ready.error().As(Errc::kUnavailable);
      continue;
    }
    Event event = Wait(deadline);
    if (Message* message = std::get_if<Message>(&event)) {
      if (next_.has_value() && message->seq < *next_) continue;  // a repetition
      TRY(Admit(message->seq));
      return std::move(*message);
    }
    if (const Fence* fence = std::get_if<Fence>(&event)) {
      if (!next_.has_value() || fence->seq >= *next_) TRY(Admit(fence->seq));
      continue;
    }
    if (std::holds_alternative<Lost>(event)) {
      Detach();
      retry_at_ = steady_clock::now();  // the first try comes at once
      continue;
    }
    if (steady_clock::now() >= deadline) return Error(Errc::kTimeout, "no message in stream " + name_.stream);
  }
}

Status NatsReader::Admit(StreamSeq seq) {
  if (next_.has_value() && seq > *next_) {
    gap_ = Error(Errc::kGap, fmt::format("stream {}: messages {} to {} are gone, the next one is {}", name_.stream,
                                         next_->raw(), seq.raw() - 1, seq.raw()));
    return *gap_;
  }
  next_ = seq.Next();
  return Ok();
}

Status NatsReader::Attach() {
  // Also counts for a failure below: the next try waits longer, up to the maximum.
  retry_wait_ = std::clamp(retry_wait_ * 2, kRetryWaitMin, kRetryWaitMax);
  retry_at_ = steady_clock::now() + retry_wait_;
  TRY_ASSIGN(session_, Session::Connect(endpoint_, next_server_++));
  Result<StreamInfo> info = GetStream(*session_, name_);
  if (!info.ok()) {
    if (info.code() != Errc::kNotFound || incarnation_.empty()) return info.error();
    return Error(Errc::kGap, fmt::format("stream {} was deleted", name_.stream));
  }
  if (incarnation_.empty()) {
    TRY(ResolveStart(*info));
    incarnation_ = info->created;
  }
  TRY(CheckPlace(*info));
  natsInbox* raw_inbox = nullptr;
  natsStatus status = natsInbox_Create(&raw_inbox);
  if (status != NATS_OK) return session_->Unavailable("inbox", status);
  const InboxHandle inbox(raw_inbox);
  inbox_ = raw_inbox;
  natsSubscription* raw = nullptr;
  status = natsConnection_SubscribeSync(&raw, session_->connection(), (inbox_ + ".*").c_str());
  subscription_.reset(raw);
  // What may be pending is bounded by the open requests; the library must not drop any of it.
  if (status == NATS_OK) status = natsSubscription_SetPendingLimits(raw, -1, -1);
  if (status != NATS_OK) return session_->Unavailable("subscribe", status);
  const StartAt place = next_.has_value() ? StartAt(FromSequence{*next_}) : start_;
  TRY_ASSIGN(const std::string consumer, CreateConsumer(*session_, name_, place));
  pull_subject_ = PullSubject(name_, consumer);
  request_bytes_ = std::max(kRequestBytes, session_->max_payload() + kRequestSlackBytes);
  heard_at_ = steady_clock::now();
  verify_ = false;
  retry_wait_ = milliseconds(0);
  return Ok();
}

Status NatsReader::ResolveStart(const StreamInfo& info) {
  if (std::holds_alternative<FromEnd>(start_)) next_ = info.last_seq.Next();
  if (std::holds_alternative<FromEnd>(start_) || std::holds_alternative<FromTime>(start_)) return Ok();
  StreamSeq from(1);
  if (const FromSequence* sequence = std::get_if<FromSequence>(&start_)) from = std::max(from, sequence->seq);
  if (from > info.last_seq) {
    next_ = from;
    return Ok();
  }
  TRY_ASSIGN(const std::optional<StoredMessage> first, GetFirstFrom(*session_, name_, from));
  next_ = first.has_value() ? first->message.seq : info.last_seq.Next();
  return Ok();
}

void NatsReader::Detach() {
  // The connection goes first: nats.c 3.4 may crash when a message arrives for a subscription that is being destroyed.
  if (session_ != nullptr) session_->Close();
  subscription_.reset();
  session_.reset();
  requests_.clear();
}

Status NatsReader::VerifyPlace() {
  Result<StreamInfo> info = GetStream(*session_, name_);
  if (!info.ok()) {
    if (info.code() == Errc::kNotFound) return Error(Errc::kGap, fmt::format("stream {} was deleted", name_.stream));
    return info.error();
  }
  verify_ = false;
  TRY(CheckPlace(*info));
  int pending = 0;
  if (!next_.has_value() || info->last_seq < *next_) return Ok();
  if (natsSubscription_GetPending(subscription_.get(), &pending, nullptr) == NATS_OK && pending > 0) return Ok();
  // The stream has our next message but the consumer does not send it: it lives on a replica that does not catch up
  // (seen with 2.9 after a node came back). A new one may live elsewhere.
  Detach();
  retry_at_ = steady_clock::now();
  return Ok();
}

Status NatsReader::CheckPlace(const StreamInfo& info) const {
  if (info.created != incarnation_) {
    return Error(Errc::kGap, fmt::format("stream {} was made again: created {}, it was created {}", name_.stream,
                                         info.created, incarnation_));
  }
  if (!next_.has_value()) return Ok();
  if (info.last_seq.Next() < *next_) {
    return Error(Errc::kGap, fmt::format("stream {} has lost its end: it stops at message {}, the next to read is {}",
                                         name_.stream, info.last_seq.raw(), next_->raw()));
  }
  if (info.first_seq > *next_) {
    return Error(Errc::kGap, fmt::format("stream {} was trimmed: it begins at message {}, the next to read is {}",
                                         name_.stream, info.first_seq.raw(), next_->raw()));
  }
  return Ok();
}

Status NatsReader::FillRequests() {
  while (requests_.size() < kRequests) {
    const std::string body = ToJson(PullRequest{kRequestMessages, request_bytes_, kRequestExpires, kHeartbeat});
    const std::string reply = fmt::format("{}.{}", inbox_, ++last_request_);
    const natsStatus status = natsConnection_PublishRequest(session_->connection(), pull_subject_.c_str(),
                                                            reply.c_str(), body.data(), static_cast<int>(body.size()));
    if (status != NATS_OK) return session_->Unavailable("ask for messages of stream " + name_.stream, status);
    requests_.push_back(Request{last_request_, kRequestMessages, true});
  }
  return Ok();
}

// Waits at most a slice.
NatsReader::Event NatsReader::Wait(SteadyTime deadline) {
  const SteadyTime now = steady_clock::now();
  const milliseconds wait = std::min(slice_, CeilMs(deadline - now));
  natsMsg* raw = nullptr;
  const natsStatus status = natsSubscription_NextMsg(&raw, subscription_.get(), wait.count());
  const MessageHandle message(raw);
  if (status == NATS_TIMEOUT) {
    if (wait == slice_) slice_ = std::min(2 * slice_, kSliceMax);
    if (now - heard_at_ < kSilenceMax) return Nothing{};
    return Lost{"silence"};
  }
  if (status != NATS_OK) return Lost{natsStatus_GetText(status)};
  heard_at_ = steady_clock::now();
  slice_ = kSliceMin;
  return TakeMessage(raw);
}

NatsReader::Event NatsReader::TakeMessage(natsMsg* message) {
  if (std::string_view(natsMsg_GetSubject(message)).starts_with(inbox_)) return TakeStatus(message);
  const char* reply = natsMsg_GetReply(message);
  const std::optional<Delivery> delivery = ParseDelivery(reply != nullptr ? reply : "");
  if (!delivery.has_value()) return Lost{"a message without a sequence"};
  if (!requests_.empty()) {
    Request& oldest = requests_.front();
    oldest.untouched = false;
    if (--oldest.messages_left == 0) requests_.pop_front();
  }
  if (natsMsg_GetDataLength(message) == 0 && !Header(message, kFenceHeader).empty()) return Fence{delivery->seq};
  Message taken;
  taken.seq = delivery->seq;
  taken.stored_at = delivery->stored_at;
  taken.payload.assign(natsMsg_GetData(message), static_cast<size_t>(natsMsg_GetDataLength(message)));
  return taken;
}

// 100: heartbeat. 404 and 408: the request ended without (more) messages. 409: it ended for the reason given. 503: no
// consumer.
NatsReader::Event NatsReader::TakeStatus(natsMsg* message) {
  const std::string_view code = Header(message, "Status");
  const std::string_view text = Header(message, "Description");
  const std::string_view subject = natsMsg_GetSubject(message);
  uint64_t id = 0;
  const std::string_view token = subject.substr(std::min(inbox_.size() + 1, subject.size()));
  std::from_chars(token.data(), token.data() + token.size(), id);
  if (code == "100") return Nothing{};
  if (code == "404" || code == "408") {
    verify_ = true;  // idle for a whole request: see whether our place is still there
    RequestEnded(id);
    return Nothing{};
  }
  if (code == "409" && text.find("MaxBytes") != std::string_view::npos) {
    // A message larger than a whole request (the server once allowed more than now): ask for more.
    const auto same = std::find_if(requests_.begin(), requests_.end(), [id](const Request& r) { return r.id == id; });
    if (same != requests_.end() && same->untouched && same == requests_.begin()) request_bytes_ *= 2;
    RequestEnded(id);
    return Nothing{};
  }
  if (code == "409" && text.find("Batch Completed") != std::string_view::npos) {
    RequestEnded(id);
    return Nothing{};
  }
  return Lost{fmt::format("{} {}", code, text)};
}

// Requests are served oldest first, so those before an ended one have ended too, even if their end was not told.
void NatsReader::RequestEnded(uint64_t id) {
  while (!requests_.empty() && requests_.front().id <= id) requests_.pop_front();
}

}  // namespace runnel::bus::nats
