#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "bus/nats/text.h"
#include "subscriber/archive/store/nats_api.h"
#include "subscriber/archive/store/nats_bucket.h"

namespace runnel::store {

using bus::nats::MessageHandle;
using bus::nats::Session;
using nlohmann::json;

namespace {

// A consumer nobody reads from goes after this: its reader was killed.
constexpr std::chrono::nanoseconds kConsumerInactive = std::chrono::seconds(30);
// How long the server keeps a request open whose messages do not come.
constexpr std::chrono::nanoseconds kRequestExpires = std::chrono::seconds(1);
constexpr std::chrono::milliseconds kStopStep(100);

std::optional<uint64_t> Number(std::string_view text) {
  uint64_t value = 0;
  const auto [end, failed] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || failed != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "consumer sequence": the token behind the stream's sequence in a reply subject (see bus/nats/text.h for the forms).
std::optional<uint64_t> ConsumerSeqOf(std::string_view reply) {
  const ptrdiff_t dots = std::ranges::count(reply, '.');
  size_t skip = dots == 8 ? 6 : 8;
  while (skip-- > 0) reply.remove_prefix(std::min(reply.find('.'), reply.size() - 1) + 1);
  return Number(reply.substr(0, reply.find('.')));
}

}  // namespace

natsStatus NextMessage(natsMsg** message, natsSubscription* subscription, SteadyTime deadline,
                       const std::stop_token& stop) {
  natsStatus status = NATS_TIMEOUT;
  do {
    const std::chrono::milliseconds wait =
        std::min(kStopStep, std::max(std::chrono::milliseconds(1), TimeLeft(deadline)));
    status = natsSubscription_NextMsg(message, subscription, wait.count());
  } while (status == NATS_TIMEOUT && std::chrono::steady_clock::now() < deadline && !stop.stop_requested());
  return status;
}

Bytes BucketReader::Item::bytes() const {
  return {reinterpret_cast<const std::byte*>(natsMsg_GetData(message.get())),
          static_cast<size_t>(natsMsg_GetDataLength(message.get()))};
}

Result<std::unique_ptr<BucketReader>> BucketReader::Open(Session& session, const NatsBucket& bucket, const From& from,
                                                         std::stop_token stop) {
  json config = {{"ack_policy", "none"},
                 {"replay_policy", "instant"},
                 {"filter_subject", from.subject},
                 {"mem_storage", true},
                 {"num_replicas", 1},
                 {"max_deliver", 1},
                 {"headers_only", from.headers_only},
                 {"inactive_threshold", kConsumerInactive.count()}};
  if (from.newest_only) {
    config["deliver_policy"] = "last_per_subject";
  } else {
    config["deliver_policy"] = "by_start_sequence";
    config["opt_start_seq"] = std::max<uint64_t>(from.seq, 1);
  }
  const ApiAnswer answer = CallApi(session, "$JS.API.CONSUMER.CREATE." + bucket.Stream(),
                                   {{"stream_name", bucket.Stream()}, {"config", config}});
  TRY(answer.status);
  std::unique_ptr<BucketReader> reader(new BucketReader(session, bucket, from.headers_only, std::move(stop)));
  reader->consumer_ = JsonText(answer.body, "name");
  reader->left_ = JsonCount(answer.body, "num_pending").value_or(0);
  natsInbox* inbox = nullptr;
  natsStatus status = natsInbox_Create(&inbox);
  const bus::nats::InboxHandle inbox_owner(inbox);
  if (status != NATS_OK) return session.Unavailable("inbox", status);
  reader->inbox_ = inbox;
  natsSubscription* subscription = nullptr;
  status = natsConnection_SubscribeSync(&subscription, session.connection(), inbox);
  if (status != NATS_OK) return session.Unavailable("subscribe", status);
  reader->subscription_.reset(subscription);
  // Bounded by the size of one request: what was asked for must not be dropped.
  natsSubscription_SetPendingLimits(subscription, -1, -1);
  return reader;
}

BucketReader::~BucketReader() {
  // Headers alone are soon there.
  while (headers_only_ && asked_ > 0 && !session_.closed() && Receive().ok()) --asked_;
  if (!consumer_.empty() && !session_.closed()) {
    // Best effort, without waiting: a consumer that stays goes by itself.
    const std::string subject = fmt::format("$JS.API.CONSUMER.DELETE.{}.{}", bucket_.Stream(), consumer_);
    natsConnection_PublishString(session_.connection(), subject.c_str(), "");
  }
  // The connection goes first while messages are under way: nats.c 3.4 may crash when one arrives for a subscription
  // that is being destroyed.
  if (asked_ > 0) session_.Close();
  subscription_.reset();
}

Status BucketReader::Ask(uint32_t batch) {
  asked_ = static_cast<uint32_t>(std::min<uint64_t>(std::max<uint32_t>(batch, 1), left_));
  const std::string request = json({{"batch", asked_}, {"expires", kRequestExpires.count()}}).dump();
  const std::string subject = fmt::format("$JS.API.CONSUMER.MSG.NEXT.{}.{}", bucket_.Stream(), consumer_);
  const natsStatus status =
      natsConnection_PublishRequestString(session_.connection(), subject.c_str(), inbox_.c_str(), request.c_str());
  return status == NATS_OK ? Ok() : Status(session_.Unavailable("request for messages", status));
}

// A message of the stream, or nothing when the server says that there is none.
Result<MessageHandle> BucketReader::Receive() {
  natsMsg* raw = nullptr;
  const natsStatus status = NextMessage(&raw, subscription_.get(), DeadlineIn(session_.timeout()), stop_);
  MessageHandle message(raw);
  if (stop_.stop_requested()) return Error(Errc::kCancelled, fmt::format("bucket {}: stopped", bucket_.name));
  if (status != NATS_OK) return session_.Unavailable(fmt::format("bucket {}: message", bucket_.name), status);
  const char* state = nullptr;
  if (natsMsgHeader_Get(raw, "Status", &state) != NATS_OK || state == nullptr) return message;
  const std::string_view code(state);
  if (code == "404" || code == "408") return MessageHandle();
  return Error(Errc::kUnavailable,
               fmt::format("nats server {}: bucket {}: the request for messages ended with status {}",
                           session_.server(), bucket_.name, code));
}

Result<std::optional<BucketReader::Item>> BucketReader::Next(uint32_t batch) {
  if (left_ == 0) return std::optional<Item>();
  if (asked_ == 0) TRY(Ask(batch));
  TRY_ASSIGN(MessageHandle message, Receive());
  if (message == nullptr) {
    // Slow, or messages went away meanwhile: the next consumer is told what is there now.
    return Error(Errc::kUnavailable, fmt::format("nats server {}: bucket {}: {} messages did not come",
                                                 session_.server(), bucket_.name, left_));
  }
  const char* reply = natsMsg_GetReply(message.get());
  const std::optional<bus::nats::Delivery> delivery = bus::nats::ParseDelivery(reply != nullptr ? reply : "");
  if (!delivery.has_value() || ConsumerSeqOf(reply) != delivered_ + 1) {
    return Error(Errc::kUnavailable, fmt::format("bucket {}: a message was lost on its way", bucket_.name));
  }
  ++delivered_;
  --left_;
  --asked_;
  Item item;
  item.seq = delivery->seq.raw();
  item.stored_at = delivery->stored_at;
  item.size = static_cast<uint64_t>(natsMsg_GetDataLength(message.get()));
  const char* size = nullptr;
  if (headers_only_ && natsMsgHeader_Get(message.get(), "Nats-Msg-Size", &size) == NATS_OK && size != nullptr) {
    const std::optional<uint64_t> number = Number(size);
    if (!number.has_value())
      return Error(Errc::kUnavailable, fmt::format("bucket {}: a message's size is no number", bucket_.name));
    item.size = *number;
  }
  item.message = std::move(message);
  return std::optional<Item>(std::move(item));
}

}  // namespace runnel::store
