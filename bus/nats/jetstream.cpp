#include "bus/nats/jetstream.h"

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bus/nats/text.h"

namespace runnel::bus::nats {
namespace {

using nlohmann::json;

constexpr int kMessageNotFound = 10037;
constexpr int kStreamNotFound = 10059;
constexpr int kStreamNameInUse = 10058;
constexpr int kSubjectsOverlap = 10065;
constexpr int kNotEnabledForAccount = 10039;
constexpr int kNotEnabled = 10076;

constexpr std::chrono::nanoseconds kDedupeWindow = std::chrono::minutes(2);
// An ephemeral consumer nobody pulls from goes after this; a reader that pauses longer makes a new one.
constexpr std::chrono::nanoseconds kConsumerInactive = std::chrono::minutes(1);
// Below this, a stream drops messages before a subscriber that was restarted by hand can read them.
constexpr std::chrono::nanoseconds kShortAge = std::chrono::hours(1);

// Members of a server's answer; absent or of another type counts as the default (json's own accessors would throw).
int64_t Int(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_number_integer() ? found->get<int64_t>() : 0;
}
std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}
bool Flag(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}
json Object(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : json::object();
}

Error ApiError(const json& error, std::string_view subject) {
  const int64_t code = Int(error, "code");
  const int64_t detail = Int(error, "err_code");
  const std::string text = fmt::format("{}: {} ({})", subject, Text(error, "description"), detail);
  switch (detail) {
    case kStreamNotFound:
    case kMessageNotFound: return Error(Errc::kNotFound, text);
    case kStreamNameInUse: return Error(Errc::kConflict, text);
    case kSubjectsOverlap: return Error(Errc::kRefused, text);
    case kNotEnabledForAccount:
    case kNotEnabled: return Error(Errc::kInvalid, text);
    default: return Error(code == 400 ? Errc::kInvalid : Errc::kUnavailable, text);
  }
}

bool IsNoMessage(const Error& error) {
  return error.message().find(fmt::format("({})", kMessageNotFound)) != std::string::npos;
}

// One request to the API: its answer as an object, or the error it holds.
Result<json> Call(Session& session, const std::string& subject, const json& body) {
  TRY_ASSIGN(const std::string answer, session.Request(subject, body.is_null() ? std::string() : body.dump()));
  json parsed = json::parse(answer, nullptr, false);
  if (!parsed.is_object()) return Error(Errc::kUnavailable, fmt::format("{}: the answer is no JSON object", subject));
  if (parsed.contains("error") && parsed["error"].is_object()) return ApiError(parsed["error"], subject);
  return parsed;
}

// What happens when the stream is full, into info.limits or, where old messages are thrown away then, info.dangers.
void FindLimits(const json& config, StreamInfo& info) {
  const bool discard_new = Text(config, "discard") == "new";
  // Of one subject the newest messages are kept, unless the stream says that this limit refuses too.
  const bool subject_refuses = discard_new && Flag(config, "discard_new_per_subject");
  for (const char* limit : {"max_msgs", "max_bytes", "max_msgs_per_subject"}) {
    const int64_t value = Int(config, limit);
    if (value <= 0) continue;
    const bool refuses = std::string_view(limit) == "max_msgs_per_subject" ? subject_refuses : discard_new;
    (refuses ? info.limits : info.dangers)
        .push_back(fmt::format("{} is {}: {} when it is reached; set it to -1", limit, value,
                               refuses ? "appends are refused" : "the oldest messages are thrown away"));
  }
}

void FindAgeDanger(const json& config, std::vector<std::string>& dangers) {
  const std::chrono::nanoseconds max_age(Int(config, "max_age"));
  if (max_age.count() > 0 && max_age < kShortAge) {
    dangers.push_back(
        fmt::format("max_age is {} s: messages are thrown away before a restarted subscriber can read them; raise it",
                    std::chrono::duration_cast<std::chrono::seconds>(max_age).count()));
  }
}

void FindDangers(const json& config, const std::string& subject, StreamInfo& info) {
  std::vector<std::string>& dangers = info.dangers;
  if (Text(config, "storage") != "file") {
    dangers.push_back(
        "storage is memory: a restart of the server loses the log; make the stream again with file storage");
  }
  FindLimits(config, info);
  FindAgeDanger(config, dangers);
  const std::string retention = Text(config, "retention");
  if (retention != "limits") {
    dangers.push_back(
        fmt::format("retention is {}: messages go when a consumer has them; set it to limits", retention));
  }
  const json subjects = config.contains("subjects") ? config["subjects"] : json::array();
  const bool only_ours = subjects.is_array() && subjects.size() == 1 && subjects[0] == subject;
  // A mirror has no subjects: harmless to read from, and a writer finds out that nobody answers.
  const bool mirror = config.contains("mirror") && !config.contains("sources");
  if (!only_ours && !mirror) {
    dangers.push_back(fmt::format("subjects are {}: foreign messages can enter the log; leave only \"{}\"",
                                  subjects.dump(), subject));
  }
  if (config.contains("sources"))
    dangers.push_back("the stream has sources: foreign messages enter the log; remove them");
  if (Flag(config, "allow_rollup_hdrs")) {
    dangers.push_back("allow_rollup_hdrs is on: one message can remove all before it; switch it off");
  }
  if (Flag(config, "no_ack")) dangers.push_back("no_ack is on: the server confirms nothing; switch it off");
  if (Text(config, "persist_mode") == "async") {
    dangers.push_back("persist_mode is async: acknowledged messages may be lost; set it to default");
  }
}

// The value of a header in a stored header block ("NATS/1.0\r\nKey: value\r\n..."); nullopt: not there.
std::optional<std::string> HeaderOf(const std::string& block, const char* key) {
  const std::string begin = fmt::format("\r\n{}:", key);
  const size_t at = block.find(begin);
  if (at == std::string::npos) return std::nullopt;
  const size_t value = block.find_first_not_of(' ', at + begin.size());
  return block.substr(value, block.find("\r\n", value) - value);
}

Result<std::optional<StoredMessage>> MessageGet(Session& session, const StreamName& name, const json& which) {
  Result<json> answer = Call(session, "$JS.API.STREAM.MSG.GET." + name.stream, which);
  if (!answer.ok() && answer.code() == Errc::kNotFound && IsNoMessage(answer.error()))
    return std::optional<StoredMessage>();
  if (!answer.ok()) return answer.error();
  const json stored = Object(*answer, "message");
  std::optional<std::string> payload = DecodeBase64(Text(stored, "data"));
  const std::optional<std::string> headers = DecodeBase64(Text(stored, "hdrs"));
  const std::optional<WallTime> time = ParseTime(Text(stored, "time"));
  const int64_t seq = Int(stored, "seq");
  if (!payload.has_value() || !headers.has_value() || !time.has_value() || seq <= 0) {
    return Error(Errc::kUnavailable,
                 fmt::format("stream {}: the server's answer to a message request is not understood", name.stream));
  }
  StoredMessage found;
  found.message.seq = StreamSeq(static_cast<uint64_t>(seq));
  found.message.stored_at = *time;
  found.message.payload = std::move(*payload);
  found.id = HeaderOf(*headers, "Nats-Msg-Id").value_or("");
  found.fence = found.message.payload.empty() && HeaderOf(*headers, kFenceHeader).has_value();
  return std::optional<StoredMessage>(std::move(found));
}

}  // namespace

StreamName StreamNameOf(std::string_view database) {
  return StreamName{fmt::format("RUNNEL-{}", database), fmt::format("runnel.{}.log", database)};
}

Result<StreamInfo> GetStream(Session& session, const StreamName& name) {
  TRY_ASSIGN(const json answer, Call(session, "$JS.API.STREAM.INFO." + name.stream, json()));
  const json state = Object(answer, "state");
  const json config = Object(answer, "config");
  StreamInfo info;
  info.created = Text(answer, "created");
  info.first_seq = StreamSeq(static_cast<uint64_t>(Int(state, "first_seq")));
  info.last_seq = StreamSeq(static_cast<uint64_t>(Int(state, "last_seq")));
  info.message_count = static_cast<uint64_t>(Int(state, "messages"));
  info.bytes = static_cast<uint64_t>(Int(state, "bytes"));
  const int64_t message_bytes_max = Int(config, "max_msg_size");
  info.message_bytes_max = message_bytes_max > 0 ? static_cast<uint64_t>(message_bytes_max) : 0;
  FindDangers(config, name.subject, info);
  if (info.created.empty()) {
    return Error(Errc::kUnavailable,
                 fmt::format("stream {}: the server does not say when it was created", name.stream));
  }
  return info;
}

Status CreateStream(Session& session, const StreamName& name, const StreamSettings& settings) {
  const bool ages = settings.max_age.count() > 0;
  const std::chrono::nanoseconds dedupe = ages ? std::min(kDedupeWindow, settings.max_age) : kDedupeWindow;
  const json config = {{"name", name.stream},
                       {"subjects", json::array({name.subject})},
                       {"retention", "limits"},
                       {"storage", "file"},
                       {"discard", "new"},
                       {"max_consumers", -1},
                       {"max_msgs", -1},
                       {"max_msgs_per_subject", -1},
                       {"max_bytes", -1},
                       {"max_msg_size", -1},
                       {"max_age", settings.max_age.count()},
                       {"duplicate_window", dedupe.count()},
                       {"allow_direct", true},
                       {"num_replicas", settings.replicas}};
  TRY(Call(session, "$JS.API.STREAM.CREATE." + name.stream, config));
  return Ok();
}

Status PurgeBefore(Session& session, const StreamName& name, StreamSeq seq) {
  TRY(Call(session, "$JS.API.STREAM.PURGE." + name.stream, {{"seq", seq.raw()}}));
  return Ok();
}

Result<std::optional<StoredMessage>> GetTail(Session& session, const StreamName& name, const StreamInfo& info) {
  for (uint64_t seq = info.last_seq.raw(); info.message_count > 0 && seq >= info.first_seq.raw() && seq > 0; --seq) {
    TRY_ASSIGN(std::optional<StoredMessage> found, MessageGet(session, name, {{"seq", seq}}));
    // Deleted by hand, or a fence: the one before it is the newest then.
    if (found.has_value() && !found->fence) return found;
  }
  return std::optional<StoredMessage>();
}

Result<std::optional<StoredMessage>> GetFirstFrom(Session& session, const StreamName& name, StreamSeq seq) {
  while (true) {
    const json which = {{"seq", std::max<uint64_t>(seq.raw(), 1)}, {"next_by_subj", name.subject}};
    TRY_ASSIGN(std::optional<StoredMessage> found, MessageGet(session, name, which));
    if (!found.has_value() || !found->fence) return found;
    seq = found->message.seq.Next();
  }
}

Result<std::string> CreateConsumer(Session& session, const StreamName& name, const StartAt& start) {
  json config = {{"ack_policy", "none"},   {"replay_policy", "instant"},
                 {"mem_storage", true},    {"num_replicas", 1},
                 {"max_deliver", 1},       {"inactive_threshold", kConsumerInactive.count()},
                 {"deliver_policy", "all"}};
  if (const FromSequence* from = std::get_if<FromSequence>(&start)) {
    config["deliver_policy"] = "by_start_sequence";
    config["opt_start_seq"] = std::max<uint64_t>(from->seq.raw(), 1);
  } else if (const FromTime* since = std::get_if<FromTime>(&start)) {
    config["deliver_policy"] = "by_start_time";
    config["opt_start_time"] = FormatTime(since->time);
  } else if (std::holds_alternative<FromEnd>(start)) {
    config["deliver_policy"] = "new";
  }
  TRY_ASSIGN(const json answer, Call(session, "$JS.API.CONSUMER.CREATE." + name.stream,
                                     {{"stream_name", name.stream}, {"config", config}}));
  std::string consumer = Text(answer, "name");
  if (consumer.empty())
    return Error(Errc::kUnavailable, fmt::format("stream {}: the server gave a consumer no name", name.stream));
  return consumer;
}

std::string PullSubject(const StreamName& name, std::string_view consumer) {
  return fmt::format("$JS.API.CONSUMER.MSG.NEXT.{}.{}", name.stream, consumer);
}

std::string ToJson(const PullRequest& request) {
  return json({{"batch", request.messages_max},
               {"max_bytes", request.bytes_max},
               {"expires", request.expires.count()},
               {"idle_heartbeat", request.heartbeat.count()}})
      .dump();
}

PublishAck ParsePublishAck(std::string_view body) {
  PublishAck ack;
  const json parsed = json::parse(body, nullptr, false);
  if (!parsed.is_object()) {
    ack.error = "the acknowledgement is no JSON object";
    return ack;
  }
  if (parsed.contains("error")) {
    const json error = Object(parsed, "error");
    ack.error_code = static_cast<int>(Int(error, "err_code"));
    ack.error = Text(error, "description");
    return ack;
  }
  ack.seq = StreamSeq(static_cast<uint64_t>(Int(parsed, "seq")));
  ack.duplicate = Flag(parsed, "duplicate");
  ack.accepted = ack.seq.raw() > 0;
  if (!ack.accepted) ack.error = "the acknowledgement has no sequence";
  return ack;
}

std::string Refusal(const PublishAck& ack) {
  std::string text = fmt::format("{} ({})", ack.error, ack.error_code);
  for (const auto& [words, limit] :
       {std::pair("maximum messages per subject exceeded", "max_msgs_per_subject"),
        std::pair("maximum messages exceeded", "max_msgs"), std::pair("maximum bytes exceeded", "max_bytes")}) {
    if (ack.error.find(words) == std::string::npos) continue;
    return text + fmt::format(": the stream is full; set its {} to -1, or let an archiver trim it", limit);
  }
  return text;
}

}  // namespace runnel::bus::nats
