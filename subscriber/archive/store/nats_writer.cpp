#include "subscriber/archive/store/nats_writer.h"

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "bus/nats/jetstream.h"
#include "ltx/base/check.h"
#include "subscriber/archive/store/nats_api.h"

namespace runnel::store {

using bus::nats::Session;

namespace {

// Headers and protocol of one message within the server's max_payload.
constexpr size_t kHeadroom = 4096;
// Looks at an object that others keep replacing before giving up.
constexpr int kContendedMax = 1000;

}  // namespace

Sha256::Sha256() : context_(EVP_MD_CTX_new()) {
  CHECK(context_ != nullptr && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "SHA-256 failed");
}

void Sha256::Add(Bytes bytes) {
  CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1, "SHA-256 failed");
}

std::string Sha256::Finish() {
  std::array<unsigned char, 32> digest = {};
  unsigned size = 0;
  CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1 && size == digest.size(), "SHA-256 failed");
  return std::string(reinterpret_cast<const char*>(digest.data()), digest.size());
}

NatsWriter::NatsWriter(NatsSessions& sessions, const std::string& key, const PutOptions& options)
    : sessions_(sessions), options_(options), chunk_bytes_(sessions.options().chunk_bytes) {
  object_.key = key;
  object_.nuid = NewNuid();
  object_.timestamp = options.timestamp;
}

Error NatsWriter::Context(const Error& error) const {
  // A stream that went away is an outage; "not found" would speak of the object.
  const Error plain = error.code() == Errc::kNotFound ? error.As(Errc::kUnavailable) : error;
  return plain.With(fmt::format("bucket {}: put {}", sessions_.bucket().name, object_.key));
}

Result<std::unique_ptr<NatsWriter>> NatsWriter::Start(NatsSessions& sessions, const std::string& key,
                                                      const PutOptions& options) {
  std::unique_ptr<NatsWriter> writer(new NatsWriter(sessions, key, options));
  Retry retry(sessions.options().retry);
  TRY(sessions.Run(retry, [&](Session& session) { return EnsureBucket(session, sessions.bucket()); }));
  TRY_ASSIGN(writer->session_, sessions.Borrow());
  const Status subscribed = writer->Subscribe();
  if (!subscribed.ok()) return writer->Context(subscribed.error());
  writer->chunk_bytes_ = std::min<size_t>(writer->chunk_bytes_, writer->session_->max_payload() - kHeadroom);
  writer->object_.chunk_bytes_max = writer->chunk_bytes_;
  return writer;
}

Status NatsWriter::Subscribe() {
  natsInbox* inbox = nullptr;
  natsStatus status = natsInbox_Create(&inbox);
  const bus::nats::InboxHandle owner(inbox);
  natsSubscription* subscription = nullptr;
  if (status == NATS_OK) status = natsConnection_SubscribeSync(&subscription, session_->connection(), inbox);
  if (status != NATS_OK) return session_->Unavailable("subscribe", status);
  acks_.reset(subscription);
  inbox_ = inbox;
  return Ok();
}

Status NatsWriter::Write(Bytes bytes) {
  CHECK(!done_, "write after commit or abort");
  while (!bytes.empty()) {
    const Bytes piece = bytes.first(std::min(bytes.size(), chunk_bytes_ - chunk_.size()));
    chunk_.append(AsText(piece));
    bytes = bytes.subspan(piece.size());
    if (chunk_.size() < chunk_bytes_) continue;
    const Status sent = SendChunk();
    if (!sent.ok()) return Context(sent.error());
  }
  return Ok();
}

Status NatsWriter::SendChunk() {
  if (object_.chunk_count == 0) {
    TRY(SendFirstChunk());
  } else {
    TRY(AwaitAcks(std::max<uint64_t>(1, sessions_.options().inflight_bytes_max / chunk_bytes_) - 1));
    TRY(PublishChunk());
  }
  digest_.Add(AsBytes(chunk_));
  object_.size += chunk_.size();
  chunk_.clear();
  return Ok();
}

// A stream that another put is just making is found before it listens: then nobody has taken the chunk, and it is sent
// again.
Status NatsWriter::SendFirstChunk() {
  Retry retry(sessions_.options().retry);
  while (true) {
    TRY(PublishChunk());
    const Status acked = AwaitAcks(0);
    if (acked.ok() || acked.code() != Errc::kNotFound) return acked;
    --object_.chunk_count;
    TRY(retry.Wait(acked.error().As(Errc::kUnavailable)));
  }
}

Status NatsWriter::PublishChunk() {
  const std::string subject = sessions_.bucket().ChunkSubject(object_.nuid);
  const natsStatus status = natsConnection_PublishRequest(session_->connection(), subject.c_str(), inbox_.c_str(),
                                                          chunk_.data(), static_cast<int>(chunk_.size()));
  if (status != NATS_OK) return session_->Unavailable("chunk", status);
  ++object_.chunk_count;
  return Ok();
}

Status NatsWriter::AwaitAcks(uint64_t inflight_max) {
  while (object_.chunk_count - acked_count_ > inflight_max) {
    natsMsg* raw = nullptr;
    const natsStatus status =
        NextMessage(&raw, acks_.get(), DeadlineIn(session_->timeout()), sessions_.options().retry.stop);
    const bus::nats::MessageHandle message(raw);
    if (sessions_.options().retry.stop.stop_requested()) return Error(Errc::kCancelled, "stopped");
    if (status == NATS_NO_RESPONDERS || (status == NATS_OK && natsMsg_IsNoResponders(raw))) {
      return Error(Errc::kNotFound, "nobody takes the chunks: the bucket's stream is not there");
    }
    if (status != NATS_OK) return session_->Unavailable("acknowledgement of a chunk", status);
    const bus::nats::PublishAck ack = bus::nats::ParsePublishAck(
        std::string_view(natsMsg_GetData(raw), static_cast<size_t>(natsMsg_GetDataLength(raw))));
    if (!ack.accepted)
      return Error(CodeOfApiError(ack.error_code, 503), fmt::format("{} ({})", ack.error, ack.error_code));
    ++acked_count_;
  }
  return Ok();
}

Status NatsWriter::CheckCondition(const std::optional<NatsObject>& there) const {
  const bool exists = there.has_value() && !there->deleted;
  switch (options_.condition.kind()) {
    case WriteCondition::Kind::kNone: return Ok();
    case WriteCondition::Kind::kAbsent:
      if (!exists) return Ok();
      return Error(Errc::kConflict, "it exists already");
    case WriteCondition::Kind::kVersion:
      if (exists && std::to_string(there->seq) == options_.condition.version()) return Ok();
      return Error(Errc::kConflict, exists ? "it has changed" : "it is no longer there");
  }
  return Ok();
}

Result<std::optional<uint64_t>> NatsWriter::PublishOnce(Session& session) {
  TRY_ASSIGN(const std::optional<NatsObject> there, FindObject(session, sessions_.bucket(), object_.key));
  // An earlier attempt whose answer was lost.
  if (announced_ && there.has_value() && there->nuid == object_.nuid) return std::optional<uint64_t>(there->seq);
  TRY(CheckCondition(there));
  announced_ = true;
  const Result<uint64_t> seq = PublishObject(session, sessions_.bucket(), object_, there.has_value() ? there->seq : 0);
  if (!seq.ok() && seq.code() == Errc::kConflict) return std::optional<uint64_t>();
  if (!seq.ok()) return seq.error();
  if (there.has_value() && !there->deleted && !there->nuid.empty()) {
    // The object is there; old chunks that stay only take room.
    static_cast<void>(PurgeChunks(session, sessions_.bucket(), there->nuid));
  }
  return std::optional<uint64_t>(*seq);
}

Result<std::string> NatsWriter::Commit() {
  CHECK(!done_, "commit after commit or abort");
  Status sent = chunk_.empty() ? Ok() : SendChunk();
  if (sent.ok()) sent = AwaitAcks(0);
  if (!sent.ok()) {
    Abort();
    return Context(sent.error());
  }
  acks_.reset();
  sessions_.Return(std::move(session_));
  const std::string digest = digest_.Finish();
  object_.digest = DigestText(AsBytes(digest));
  Retry retry(sessions_.options().retry);
  for (int i = 0; i < kContendedMax; ++i) {
    const Result<std::optional<uint64_t>> seq =
        sessions_.Run(retry, [&](Session& session) { return PublishOnce(session); });
    if (seq.ok() && seq->has_value()) {
      done_ = true;
      return std::to_string(**seq);
    }
    if (seq.ok()) continue;
    // Refused by the server, every time: this description was not taken and will not be.
    const bool unknown = retry.repeated() || seq.code() == Errc::kUnavailable || seq.code() == Errc::kCancelled;
    announced_ = announced_ && unknown;
    Abort();
    return Context(seq.error());
  }
  Abort();
  return Context(Error(Errc::kUnavailable, fmt::format("others replaced it {} times in a row", kContendedMax)));
}

void NatsWriter::Abort() {
  // The connection goes first: nats.c 3.4 may crash when an answer arrives for a subscription that is being destroyed.
  if (session_ != nullptr) session_->Close();
  acks_.reset();
  session_.reset();
  // After an answer that was lost the description may still get in: its chunks are left rather than taken away from
  // under it.
  if (!done_ && !announced_ && object_.chunk_count > 0) {
    Result<std::unique_ptr<Session>> session = sessions_.BorrowForCleanup();
    if (session.ok() && PurgeChunks(**session, sessions_.bucket(), object_.nuid).ok())
      sessions_.Return(*std::move(session));
  }
  done_ = true;
}

}  // namespace runnel::store
