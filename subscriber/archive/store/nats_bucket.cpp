#include "subscriber/archive/store/nats_bucket.h"

#include <openssl/rand.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "bus/nats/jetstream.h"
#include "bus/nats/text.h"
#include "ltx/base/check.h"
#include "subscriber/archive/store/nats_api.h"

namespace runnel::store {

using bus::nats::Session;
using nlohmann::json;

namespace {

constexpr int kWrongLastSequence = 10071;
constexpr const char* kLitestreamHeader = "Litestream-Timestamp";
constexpr size_t kNameBytesMax = 4096;  // of an object somebody else wrote

std::optional<WallTime> TimestampOf(const json& headers) {
  for (const char* name : {kLitestreamHeader, kTimestampName}) {
    const auto found = headers.find(name);
    if (found == headers.end() || !found->is_array() || found->empty() || !found->front().is_string()) continue;
    return ParseTimestamp(found->front().get<std::string>());
  }
  return std::nullopt;
}

}  // namespace

std::string NatsBucket::ChunkSubject(std::string_view nuid) const { return fmt::format("$O.{}.C.{}", name, nuid); }
std::string NatsBucket::MetaSubject(std::string_view key) const {
  return fmt::format("$O.{}.M.{}", name, Base64Url(key));
}
std::string NatsBucket::AllMetaSubjects() const { return fmt::format("$O.{}.M.>", name); }

ObjectInfo InfoOf(const NatsObject& object) {
  ObjectInfo info;
  info.key = object.key;
  info.size = object.size;
  info.version = std::to_string(object.seq);
  info.modified = object.stored_at;
  info.timestamp = object.timestamp;
  return info;
}

std::string Base64Url(std::string_view bytes) {
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
  std::string out;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    const auto at = [&](size_t n) { return n < bytes.size() ? static_cast<unsigned char>(bytes[n]) : 0u; };
    const unsigned group = at(i) << 16 | at(i + 1) << 8 | at(i + 2);
    out += kAlphabet[group >> 18];
    out += kAlphabet[group >> 12 & 63];
    out += i + 1 < bytes.size() ? kAlphabet[group >> 6 & 63] : '=';
    out += i + 2 < bytes.size() ? kAlphabet[group & 63] : '=';
  }
  return out;
}

std::string NewNuid() {
  constexpr std::string_view kDigits = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::array<unsigned char, 22> bytes = {};
  CHECK(RAND_bytes(bytes.data(), static_cast<int>(bytes.size())) == 1, "no random numbers");
  std::string nuid;
  for (const unsigned char byte : bytes) nuid += kDigits[byte % kDigits.size()];
  return nuid;
}

std::string DigestText(Bytes sha256) { return "SHA-256=" + Base64Url(AsText(sha256)); }

std::optional<NatsObject> ParseNatsObject(std::string_view text, uint64_t seq, WallTime stored_at) {
  const json parsed = json::parse(text, nullptr, false);
  if (!parsed.is_object()) return std::nullopt;
  const json options = JsonObject(parsed, "options");
  NatsObject object;
  object.seq = seq;
  object.stored_at = stored_at;
  object.key = JsonText(parsed, "name");
  object.nuid = JsonText(parsed, "nuid");
  object.deleted = JsonFlag(parsed, "deleted");
  object.link = options.contains("link");
  const std::optional<uint64_t> size = JsonCount(parsed, "size");
  const std::optional<uint64_t> chunks = JsonCount(parsed, "chunks");
  if (!size.has_value() || !chunks.has_value()) return std::nullopt;
  object.size = *size;
  object.chunk_count = *chunks;
  object.chunk_bytes_max = JsonCount(options, "max_chunk_size").value_or(0);
  object.digest = JsonText(parsed, "digest");
  object.timestamp = TimestampOf(JsonObject(parsed, "headers"));
  const auto is_token = [](char c) { return c > ' ' && c != '.' && c != '*' && c != '>' && c != 0x7f; };
  const bool nuid_fits = !object.nuid.empty() && object.nuid.size() <= 64 && std::ranges::all_of(object.nuid, is_token);
  const bool name_fits = !object.key.empty() && object.key.size() <= kNameBytesMax;
  if (!name_fits || !(nuid_fits || object.deleted || object.link)) return std::nullopt;
  return object;
}

std::string RenderNatsObject(const NatsBucket& bucket, const NatsObject& object) {
  // As nats.go writes it: the time of the message counts, this one is zero.
  json body = {{"name", object.key},           {"options", {{"max_chunk_size", object.chunk_bytes_max}}},
               {"bucket", bucket.name},        {"nuid", object.nuid},
               {"size", object.size},          {"mtime", "0001-01-01T00:00:00Z"},
               {"chunks", object.chunk_count}, {"digest", object.digest}};
  if (object.timestamp.has_value()) {
    body["headers"] = {{kLitestreamHeader, json::array({FormatTimestamp(*object.timestamp)})}};
  }
  // A key that is no UTF-8 cannot be told in JSON; the subject still is exact.
  return body.dump(-1, ' ', false, json::error_handler_t::replace);
}

Status EnsureBucket(Session& session, const NatsBucket& bucket) {
  const ApiAnswer info = CallApi(session, "$JS.API.STREAM.INFO." + bucket.Stream(), json());
  if (info.error_code != kStreamNotFound) return info.status;
  const json config = {{"name", bucket.Stream()},
                       {"subjects", json::array({bucket.ChunkSubject(">"), bucket.AllMetaSubjects()})},
                       {"retention", "limits"},
                       {"storage", "file"},
                       {"discard", "new"},
                       {"max_consumers", -1},
                       {"max_msgs", -1},
                       {"max_msgs_per_subject", -1},
                       {"max_bytes", -1},
                       {"max_msg_size", -1},
                       {"max_age", 0},
                       {"duplicate_window", std::chrono::nanoseconds(std::chrono::minutes(2)).count()},
                       {"allow_rollup_hdrs", true},
                       {"allow_direct", true},
                       {"num_replicas", bucket.replicas}};
  const ApiAnswer made = CallApi(session, "$JS.API.STREAM.CREATE." + bucket.Stream(), config);
  return made.error_code == kStreamNameInUse ? Ok() : made.status;  // another process was faster
}

Result<BucketState> GetState(Session& session, const NatsBucket& bucket) {
  const ApiAnswer answer = CallApi(session, "$JS.API.STREAM.INFO." + bucket.Stream(), json());
  TRY(answer.status);
  const json state = JsonObject(answer.body, "state");
  return BucketState{JsonCount(state, "last_seq").value_or(0), JsonCount(state, "messages").value_or(0)};
}

Result<std::optional<NatsObject>> FindObject(Session& session, const NatsBucket& bucket, const std::string& key) {
  const ApiAnswer answer =
      CallApi(session, "$JS.API.STREAM.MSG.GET." + bucket.Stream(), {{"last_by_subj", bucket.MetaSubject(key)}});
  if (answer.error_code == kMessageNotFound) return std::optional<NatsObject>();
  TRY(answer.status);
  const json message = JsonObject(answer.body, "message");
  const std::optional<std::string> body = bus::nats::DecodeBase64(JsonText(message, "data"));
  const std::optional<WallTime> time = bus::nats::ParseTime(JsonText(message, "time"));
  const std::optional<uint64_t> seq = JsonCount(message, "seq");
  std::optional<NatsObject> object;
  if (body.has_value() && time.has_value() && seq.has_value()) object = ParseNatsObject(*body, *seq, *time);
  if (!object.has_value())
    return Error(Errc::kCorrupt, fmt::format("bucket {}: the description of {} is none", bucket.name, key));
  object->key = key;
  return object;
}

Result<uint64_t> PublishObject(Session& session, const NatsBucket& bucket, const NatsObject& object,
                               uint64_t last_seq) {
  const std::string body = RenderNatsObject(bucket, object);
  natsMsg* raw = nullptr;
  natsStatus status =
      natsMsg_Create(&raw, bucket.MetaSubject(object.key).c_str(), nullptr, body.data(), static_cast<int>(body.size()));
  const bus::nats::MessageHandle message(raw);
  if (status == NATS_OK) status = natsMsgHeader_Set(raw, "Nats-Rollup", "sub");
  if (status == NATS_OK) {
    status = natsMsgHeader_Set(raw, "Nats-Expected-Last-Subject-Sequence", std::to_string(last_seq).c_str());
  }
  if (status != NATS_OK) return session.Unavailable("message", status);
  TRY_ASSIGN(const std::string answer, session.Request(raw));
  const bus::nats::PublishAck ack = bus::nats::ParsePublishAck(answer);
  if (ack.accepted) return ack.seq.raw();
  const std::string text = fmt::format("bucket {}: {}: {} ({})", bucket.name, object.key, ack.error, ack.error_code);
  return Error(ack.error_code == kWrongLastSequence ? Errc::kConflict : CodeOfApiError(ack.error_code, 503), text);
}

Result<bool> RemoveMessage(Session& session, const NatsBucket& bucket, uint64_t seq) {
  const ApiAnswer answer =
      CallApi(session, "$JS.API.STREAM.MSG.DELETE." + bucket.Stream(), {{"seq", seq}, {"no_erase", true}});
  if (answer.error_code == kMessageNotFound || answer.error_code == kMessageDeleteFailed) return false;
  TRY(answer.status);
  return JsonFlag(answer.body, "success");
}

Status PurgeChunks(Session& session, const NatsBucket& bucket, const std::string& nuid) {
  return CallApi(session, "$JS.API.STREAM.PURGE." + bucket.Stream(), {{"filter", bucket.ChunkSubject(nuid)}}).status;
}

}  // namespace runnel::store
