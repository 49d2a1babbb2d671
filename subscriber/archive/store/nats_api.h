// JetStream API requests as JSON, and reading the members of the answers without trust. For the files of the NATS store
// only.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include <nlohmann/json.hpp>

#include "bus/nats/session.h"
#include "ltx/base/result.h"

namespace runnel::store {

// Codes of the server's errors that decide something.
inline constexpr int kMessageNotFound = 10037;
inline constexpr int kMessageDeleteFailed = 10057;
inline constexpr int kStreamNameInUse = 10058;
inline constexpr int kStreamNotFound = 10059;

struct ApiAnswer {
  Status status = Ok();
  int error_code = 0;  // the server's; 0 when there was no answer
  nlohmann::json body = nlohmann::json::object();
};
ApiAnswer CallApi(bus::nats::Session& session, const std::string& subject, const nlohmann::json& request);
// What a caller must do about an error of the server; `http_like` is its coarse code.
Errc CodeOfApiError(int error_code, int64_t http_like);

// Absent or of another type: empty.
std::optional<uint64_t> JsonCount(const nlohmann::json& object, const char* key);
std::string JsonText(const nlohmann::json& object, const char* key);
bool JsonFlag(const nlohmann::json& object, const char* key);
nlohmann::json JsonObject(const nlohmann::json& object, const char* key);

}  // namespace runnel::store
