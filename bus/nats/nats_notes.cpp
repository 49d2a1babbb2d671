#include "bus/nats/nats_notes.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bus/nats/jetstream.h"
#include "bus/nats/text.h"
#include "bus/url.h"

namespace runnel::bus::nats {
namespace {

using nlohmann::json;

// More nodes than anybody runs; bounds what a hostile stream can make us hold.
constexpr size_t kNotesMax = 1000;
constexpr size_t kNoteBytesMax = 16 << 10;

std::string StreamOf(const std::string& database) { return fmt::format("RUNNEL-{}-notes", database); }
std::string SubjectOf(const std::string& database, std::string_view key) {
  return fmt::format("runnel.{}.note.{}", database, key);
}

Status CreateNotes(Session& session, const std::string& database) {
  const json config = {{"name", StreamOf(database)},
                       {"subjects", json::array({SubjectOf(database, ">")})},
                       {"retention", "limits"},
                       {"storage", "file"},
                       {"discard", "old"},
                       {"max_msgs_per_subject", 1},
                       {"max_msg_size", kNoteBytesMax},
                       {"num_replicas", 1}};
  TRY(session.Request("$JS.API.STREAM.CREATE." + StreamOf(database), config.dump()));
  return Ok();
}

std::vector<std::string> SubjectsIn(const json& info) {
  std::vector<std::string> subjects;
  const auto state = info.find("state");
  if (state == info.end() || !state->is_object()) return subjects;
  const auto found = state->find("subjects");
  if (found == state->end() || !found->is_object()) return subjects;
  for (const auto& [subject, count] : found->items()) {
    if (subjects.size() < kNotesMax) subjects.push_back(subject);
  }
  return subjects;
}

}  // namespace

Status PutNote(Session& session, const std::string& database, const Note& note) {
  // A key is a part of a subject: a dot or a star in it would mean something else.
  if (!IsDatabaseName(note.key)) return Error(Errc::kInvalid, "\"" + note.key + "\" is no key for a note");
  if (note.text.size() > kNoteBytesMax)
    return Error(Errc::kInvalid, "a note of " + std::to_string(note.text.size()) + " bytes");
  Result<std::string> answer = session.Request(SubjectOf(database, note.key), note.text);
  if (!answer.ok()) {
    // Nobody answers a subject without a stream.
    TRY(CreateNotes(session, database));
    TRY_ASSIGN(answer, session.Request(SubjectOf(database, note.key), note.text));
  }
  const PublishAck ack = ParsePublishAck(*answer);
  return ack.accepted ? Ok() : Status(Error(Errc::kUnavailable, "note of " + note.key + ": " + ack.error));
}

Result<std::vector<Note>> GetNotes(Session& session, const std::string& database) {
  std::vector<Note> notes;
  const json filter = {{"subjects_filter", SubjectOf(database, ">")}};
  TRY_ASSIGN(const std::string answer, session.Request("$JS.API.STREAM.INFO." + StreamOf(database), filter.dump()));
  const json info = json::parse(answer, nullptr, false);
  if (!info.is_object()) return Error(Errc::kUnavailable, "the answer about the notes is no JSON object");
  const std::string prefix = SubjectOf(database, "");
  for (const std::string& subject : SubjectsIn(info)) {
    const json last = {{"last_by_subj", subject}};
    TRY_ASSIGN(const std::string stored, session.Request("$JS.API.STREAM.MSG.GET." + StreamOf(database), last.dump()));
    const json parsed = json::parse(stored, nullptr, false);
    const json message = parsed.is_object() ? parsed.value("message", json::object()) : json::object();
    if (!message.is_object() || !message.contains("data") || !message["data"].is_string()) continue;
    const std::optional<std::string> text = DecodeBase64(message["data"].get<std::string>());
    const std::optional<WallTime> time = message.contains("time") && message["time"].is_string()
                                             ? ParseTime(message["time"].get<std::string>())
                                             : std::nullopt;
    if (text && time && subject.starts_with(prefix)) notes.push_back({subject.substr(prefix.size()), *time, *text});
  }
  return notes;
}

}  // namespace runnel::bus::nats
