#include "bus/kafka/kafka_notes.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "bus/url.h"

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

// More nodes than anybody runs; bounds what a hostile topic can make us hold.
constexpr size_t kNotesMax = 1000;
constexpr size_t kNoteBytesMax = 16 << 10;
// How far back notes are looked for where nothing is ever compacted: weeks.
constexpr Offset kBackMax = 1'000'000;
constexpr milliseconds kAwayPause(5000);
constexpr milliseconds kSlice(50);

Client::Properties Properties(const Servers& servers) {
  return {{"acks", "all"},
          {"linger.ms", "0"},
          {"message.timeout.ms", std::to_string(servers.timeout.count())},
          {"topic.metadata.propagation.max.ms", "1000"}};
}

// What one note waits for; told once, by the thread that polls. Freed by its delivery.
struct Sent {
  std::shared_ptr<std::optional<rd_kafka_resp_err_t>> told;
};

}  // namespace

Endpoint NotesOf(const Endpoint& log, const std::string& database) {
  Endpoint notes = log;
  notes.topic = "runnel-notes." + database;
  return notes;
}

Status NotesWriter::Open() {
  if (client_ != nullptr) return Ok();
  Client::Options options;
  options.type = RD_KAFKA_PRODUCER;
  options.properties = Properties(servers_);
  options.on_delivery = [](const rd_kafka_message_t& message) {
    const std::unique_ptr<Sent> sent(static_cast<Sent*>(message._private));
    *sent->told = message.err;
  };
  TRY_ASSIGN(client_, Client::Make(servers_, std::move(options)));
  return Ok();
}

Status NotesWriter::Put(Inspector& inspector, const Note& note) {
  if (!IsDatabaseName(note.key)) return Error(Errc::kInvalid, "\"" + note.key + "\" is no key for a note");
  if (note.text.size() > kNoteBytesMax)
    return Error(Errc::kInvalid, fmt::format("a note of {} bytes", note.text.size()));
  const MutexLock lock(mutex_);
  if (std::chrono::steady_clock::now() < away_until_)
    return Error(Errc::kUnavailable, fmt::format("kafka {}: no answer a moment ago", servers_.brokers));
  TRY(Open());
  const Status sent = Send(inspector, note);
  if (!sent.ok()) topics_.erase(inspector.endpoint().topic);  // perhaps it was deleted: looked at again next time
  if (!sent.ok() && sent.code() == Errc::kUnavailable) away_until_ = DeadlineIn(kAwayPause);
  return sent;
}

Status NotesWriter::Send(Inspector& inspector, const Note& note) {
  const std::string& name = inspector.endpoint().topic;
  TopicHandle& topic = topics_[name];
  if (topic == nullptr) {
    Status there = inspector.Exists();
    if (!there.ok() && there.code() == Errc::kNotFound)
      there = CreateNotesTopic(inspector.client(), inspector.topic(), inspector.endpoint());
    if (!there.ok() && there.code() != Errc::kConflict) return there;
    topic.reset(rd_kafka_topic_new(client_->get(), name.c_str(), nullptr));
    if (topic == nullptr) return Error(Errc::kInvalid, "kafka: topic name " + name);
    TRY_ASSIGN(const MetadataHandle metadata, client_->AskMetadata(topic.get()));
  }
  const auto told = std::make_shared<std::optional<rd_kafka_resp_err_t>>();
  auto sent = std::make_unique<Sent>(Sent{told});
  const int queued = rd_kafka_produce(topic.get(), 0, RD_KAFKA_MSG_F_COPY, const_cast<char*>(note.text.data()),
                                      note.text.size(), note.key.data(), note.key.size(), sent.get());
  const std::string what = "leave a note in topic " + name;
  if (queued != 0) return client_->MakeError(what, rd_kafka_last_error());
  (void)sent.release();  // its delivery frees it
  // The message's own time-out ends this; the deadline only guards against a library that forgets it.
  const SteadyTime deadline = DeadlineIn(2 * servers_.timeout);
  while (!told->has_value() && TimeLeft(deadline) > milliseconds(0)) client_->Poll(kSlice);
  if (!told->has_value()) return client_->MakeError(what, RD_KAFKA_RESP_ERR__MSG_TIMED_OUT);
  return **told == RD_KAFKA_RESP_ERR_NO_ERROR ? Ok() : Status(client_->MakeError(what, **told));
}

Result<std::vector<Note>> ReadNotes(Inspector& inspector) {
  const Status there = inspector.Exists();
  if (!there.ok() && there.code() == Errc::kNotFound) return std::vector<Note>();
  TRY(there);
  TRY_ASSIGN(const Watermarks marks, inspector.Marks());
  std::map<std::string, Note> last;
  TRY(inspector.Scan(std::max(marks.low, marks.end - kBackMax), marks.end, [&](const rd_kafka_message_t& message) {
    const std::string key(static_cast<const char*>(message.key), message.key_len);
    if (!IsDatabaseName(key) || message.len > kNoteBytesMax) return true;  // a stranger's
    if (message.payload == nullptr) {
      last.erase(key);
    } else if (last.size() < kNotesMax || last.contains(key)) {
      last[key] = Note{key, WallTime(milliseconds(rd_kafka_message_timestamp(&message, nullptr))),
                       std::string(static_cast<const char*>(message.payload), message.len)};
    }
    return true;
  }));
  std::vector<Note> notes;
  for (auto& [key, note] : last) notes.push_back(std::move(note));
  return notes;
}

}  // namespace runnel::bus::kafka
