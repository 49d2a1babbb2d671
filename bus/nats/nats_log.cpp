#include "bus/nats/nats_log.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <functional>
#include <iterator>
#include <mutex>
#include <random>

#include <fmt/format.h>

#include "bus/nats/jetstream.h"
#include "bus/nats/nats_notes.h"
#include "bus/nats/nats_reader.h"
#include "bus/nats/nats_writer.h"
#include "bus/nats/session.h"

namespace runnel::bus::nats {
namespace {

// A log that moves between our look at its end and our marker has a writer that is still appending. From the second try
// on a fence goes first: it lands anywhere, breaks that writer's chain, and the end stands still. Rivals may fence each
// other a few times.
constexpr int kTakeOverTries = 30;
constexpr int kTriesWithoutFence = 2;
// Longest random pause between two tries, doubled from 1 ms: rivals that fence each other in step would never end.
constexpr int kPauseMsMax = 64;
// Room for our headers in the server's max_payload: two ids of 53 bytes, the names of the headers, the stream's name.
constexpr uint64_t kHeadroomBytes = 4096;

std::string RandomLeadership() {
  std::random_device device;
  std::string text;
  for (int i = 0; i < 4; ++i) text += fmt::format("{:08x}", device());
  return text;
}

// Waits 0 to 2^tries ms, or until the stop.
void PauseForRivals(int tries, std::stop_token stop) {
  const int pause_ms_max = std::min(1 << std::min(tries, 16), kPauseMsMax);
  std::random_device random;
  std::mutex mutex;
  std::condition_variable_any never;
  std::unique_lock<std::mutex> lock(mutex);
  never.wait_for(lock, stop, std::chrono::milliseconds(random() % static_cast<unsigned>(pause_ms_max + 1)),
                 [] { return false; });
}

std::optional<Message> Payload(std::optional<StoredMessage> stored) {
  if (!stored.has_value()) return std::nullopt;
  return std::move(stored->message);
}

class NatsLog : public Log {
 public:
  NatsLog(std::string database, Endpoint endpoint, const OpenOptions& options)
      : database_(std::move(database)),
        name_(StreamNameOf(database_)),
        endpoint_(std::move(endpoint)),
        force_(options.force),
        settings_{options.replicas, options.retention},
        // Spreads the connections of many logs over the servers, the same way each time.
        next_server_(std::hash<std::string>()(database_ + endpoint_.client_name)) {}

  Result<LogInfo> Info() override;
  Status Create() override;
  Result<std::optional<Message>> Tail() override;
  Result<std::optional<Message>> Get(StreamSeq seq) override;
  Result<std::unique_ptr<LogWriter>> TakeOver(const TakeOverDecision& decision, WriterOptions options,
                                              std::stop_token stop) override;
  Result<std::unique_ptr<LogReader>> Read(StartAt start) override;
  Status TrimBefore(StreamSeq seq) override;
  Status PutNote(const Note& note) override;
  Result<std::vector<Note>> Notes() override;

 private:
  Result<std::shared_ptr<Session>> Control();
  Status RefuseDangers(const StreamInfo& info) const;
  Result<std::optional<NatsWriter::Place>> TryTakeOver(Session& session, const TakeOverDecision& decision) const;

  const std::string database_;
  const StreamName name_;
  const Endpoint endpoint_;
  const bool force_;
  const StreamSettings settings_;
  std::atomic<size_t> next_server_;
  std::atomic<bool> has_led_ = false;

  std::mutex mutex_;
  // Guarded by mutex_. Shared: a call keeps the session it has begun with while another call replaces a broken one.
  std::shared_ptr<Session> control_;
};

Result<std::shared_ptr<Session>> NatsLog::Control() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (control_ != nullptr && !control_->closed()) return control_;
  }
  TRY_ASSIGN(std::shared_ptr<Session> fresh, Session::Connect(endpoint_, next_server_++));
  const std::lock_guard<std::mutex> lock(mutex_);
  control_ = fresh;
  return fresh;
}

Result<LogInfo> NatsLog::Info() {
  TRY_ASSIGN(const std::shared_ptr<Session> session, Control());
  TRY_ASSIGN(StreamInfo stream, GetStream(*session, name_));
  LogInfo info;
  info.adapter = "nats";
  info.name = database_;
  info.location = fmt::format("{}://{} stream {}", endpoint_.tls ? "tls" : "nats", endpoint_.Text(), name_.stream);
  info.incarnation = stream.created;
  info.first_seq = stream.message_count > 0 ? stream.first_seq : StreamSeq(0);
  info.last_seq = stream.last_seq;
  info.message_count = stream.message_count;
  info.bytes = stream.bytes;
  if (stream.message_count > 0) {
    const uint64_t places = stream.last_seq.raw() - stream.first_seq.raw() + 1;
    info.missing_messages = places > stream.message_count ? places - stream.message_count : 0;
  }
  info.dangers = std::move(stream.dangers);
  std::ranges::move(stream.limits, std::back_inserter(info.dangers));
  return info;
}

// Nobody begins at a stream that may be full one day. Whoever leads it when somebody sets a limit goes on: nothing is
// lost by waiting for room, and it would be by ending, because the database's WAL is held by its publisher only.
Status NatsLog::RefuseDangers(const StreamInfo& info) const {
  std::vector<std::string> dangers = info.dangers;
  if (!has_led_) std::ranges::copy(info.limits, std::back_inserter(dangers));
  if (dangers.empty() || force_) return Ok();
  std::string text;
  for (const std::string& danger : dangers) text += (text.empty() ? "" : "; ") + danger;
  return Error(Errc::kRefused,
               fmt::format("stream {} endangers data: {}; or accept that with --force", name_.stream, text));
}

Status NatsLog::Create() {
  TRY_ASSIGN(const std::shared_ptr<Session> session, Control());
  const Result<StreamInfo> existing = GetStream(*session, name_);
  if (existing.ok()) return RefuseDangers(*existing);
  if (existing.code() != Errc::kNotFound) return existing.error();
  const Status created = CreateStream(*session, name_, settings_);
  // kConflict: another process was faster, perhaps with other settings; they are judged below like ours.
  if (!created.ok() && created.code() != Errc::kConflict) return created;
  // Read back: a server drops settings it does not know without an error.
  TRY_ASSIGN(const StreamInfo made, GetStream(*session, name_));
  return RefuseDangers(made);
}

Result<std::optional<Message>> NatsLog::Tail() {
  TRY_ASSIGN(const std::shared_ptr<Session> session, Control());
  TRY_ASSIGN(const StreamInfo info, GetStream(*session, name_));
  TRY_ASSIGN(std::optional<StoredMessage> tail, GetTail(*session, name_, info));
  return Payload(std::move(tail));
}

Result<std::optional<Message>> NatsLog::Get(StreamSeq seq) {
  TRY_ASSIGN(const std::shared_ptr<Session> session, Control());
  TRY_ASSIGN(std::optional<StoredMessage> found, GetFirstFrom(*session, name_, seq));
  return Payload(std::move(found));
}

// One attempt; nullopt when the log moved between the look and the marker.
Result<std::optional<NatsWriter::Place>> NatsLog::TryTakeOver(Session& session,
                                                              const TakeOverDecision& decision) const {
  TRY_ASSIGN(const StreamInfo info, GetStream(session, name_));
  TRY(RefuseDangers(info));
  TRY_ASSIGN(std::optional<StoredMessage> tail, GetTail(session, name_, info));
  TRY_ASSIGN(const std::optional<std::string> marker, decision(Payload(std::move(tail))));
  NatsWriter::Place place;
  place.name = name_;
  place.leadership = RandomLeadership();
  place.tail = info.last_seq;
  const uint64_t message_bytes_max =
      info.message_bytes_max > 0 ? std::min(session.max_payload(), info.message_bytes_max) : session.max_payload();
  place.payload_bytes_max = message_bytes_max > kHeadroomBytes ? message_bytes_max - kHeadroomBytes : 0;
  if (!marker.has_value()) return std::optional<NatsWriter::Place>(std::move(place));
  if (marker->size() > place.payload_bytes_max) {
    return Error(Errc::kInvalid, fmt::format("marker of {} bytes, stream {} takes {}", marker->size(), name_.stream,
                                             place.payload_bytes_max));
  }
  TRY_ASSIGN(const PublishAck ack, PublishBehind(session, name_, place.leadership + "-0", info.last_seq, *marker));
  if (!ack.accepted && ack.error_code == kWrongLastSequence) return std::optional<NatsWriter::Place>();
  if (!ack.accepted) {
    return Error(Errc::kUnavailable, fmt::format("stream {} refused the marker: {}", name_.stream, Refusal(ack)));
  }
  place.tail = ack.seq;
  place.has_marker = true;
  return std::optional<NatsWriter::Place>(std::move(place));
}

Result<std::unique_ptr<LogWriter>> NatsLog::TakeOver(const TakeOverDecision& decision, WriterOptions options,
                                                     std::stop_token stop) {
  TRY_ASSIGN(std::unique_ptr<Session> session, Session::Connect(endpoint_, next_server_++));
  for (int i = 0; i < kTakeOverTries; ++i) {
    if (stop.stop_requested()) return Error(Errc::kCancelled, "take over stream " + name_.stream);
    if (i > 0) PauseForRivals(i, stop);
    if (i >= kTriesWithoutFence) TRY(PublishFence(*session, name_, RandomLeadership() + "-fence"));
    TRY_ASSIGN(std::optional<NatsWriter::Place> place, TryTakeOver(*session, decision));
    if (!place.has_value()) continue;
    has_led_ = true;
    return NatsWriter::Open(std::move(session), std::move(*place), std::move(options));
  }
  return Error(Errc::kUnavailable, fmt::format("stream {}: the log moved during each of {} tries to take it over",
                                               name_.stream, kTakeOverTries));
}

Result<std::unique_ptr<LogReader>> NatsLog::Read(StartAt start) {
  return NatsReader::Open(endpoint_, next_server_++, name_, start);
}

Status NatsLog::PutNote(const Note& note) {
  TRY_ASSIGN(const std::shared_ptr<Session> session, Control());
  return nats::PutNote(*session, database_, note);
}

Result<std::vector<Note>> NatsLog::Notes() {
  TRY_ASSIGN(const std::shared_ptr<Session> session, Control());
  return GetNotes(*session, database_);
}

Status NatsLog::TrimBefore(StreamSeq seq) {
  TRY_ASSIGN(const std::shared_ptr<Session> session, Control());
  TRY_ASSIGN(const StreamInfo info, GetStream(*session, name_));
  // Beyond the end the server would jump to `seq`, and 0 means "all" to it.
  const StreamSeq before = std::min(seq, info.last_seq.Next());
  if (info.message_count == 0 || before <= info.first_seq) return Ok();
  return PurgeBefore(*session, name_, before);
}

}  // namespace
}  // namespace runnel::bus::nats

namespace runnel::bus {

Result<std::unique_ptr<Log>> OpenNatsLog(const Url& url, const OpenOptions& options) {
  TRY_ASSIGN(nats::Endpoint endpoint, nats::MakeEndpoint(url, options));
  return std::unique_ptr<Log>(std::make_unique<nats::NatsLog>(url.name, std::move(endpoint), options));
}

}  // namespace runnel::bus
