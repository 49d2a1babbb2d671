#include "subscriber/archive/store/nats_api.h"

#include <fmt/format.h>

namespace runnel::store {

using nlohmann::json;

std::optional<uint64_t> JsonCount(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
  return found->get<uint64_t>();
}

std::string JsonText(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

bool JsonFlag(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_boolean() && found->get<bool>();
}

json JsonObject(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_object() ? *found : json::object();
}

Errc CodeOfApiError(int error_code, int64_t http_like) {
  switch (error_code) {
    case kStreamNotFound:
    case kMessageNotFound: return Errc::kNotFound;
    case 10023:                           // insufficient resources
    case 10047:                           // storage resources exceeded for the account
    case 10077:                           // maximum bytes exceeded
    case 10054: return Errc::kExhausted;  // message size exceeds maximum
    case 10039:                           // JetStream not enabled for the account
    case 10076: return Errc::kInvalid;    // JetStream not enabled
    default: return http_like == 400 ? Errc::kInvalid : Errc::kUnavailable;
  }
}

ApiAnswer CallApi(bus::nats::Session& session, const std::string& subject, const json& request) {
  ApiAnswer answer;
  const Result<std::string> text = session.Request(subject, request.is_null() ? std::string() : request.dump());
  if (!text.ok()) {
    answer.status = text.error();
    return answer;
  }
  answer.body = json::parse(*text, nullptr, false);
  if (!answer.body.is_object()) {
    answer.status = Error(Errc::kUnavailable, fmt::format("{}: the answer is no JSON object", subject));
    return answer;
  }
  if (!answer.body.contains("error")) return answer;
  const json error = JsonObject(answer.body, "error");
  answer.error_code = static_cast<int>(JsonCount(error, "err_code").value_or(1));
  answer.status = Error(CodeOfApiError(answer.error_code, static_cast<int64_t>(JsonCount(error, "code").value_or(0))),
                        fmt::format("{}: {} ({})", subject, JsonText(error, "description"), answer.error_code));
  return answer;
}

}  // namespace runnel::store
