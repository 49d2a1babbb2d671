#include "bus/kafka/endpoint.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>

namespace runnel::bus::kafka {
namespace {

constexpr uint16_t kDefaultPort = 9092;
constexpr uint64_t kMessageBytesDefault = 8 << 20;  // larger ones cost every broker and consumer buffers of that size
constexpr uint64_t kMessageBytesMin = 1'000'000;    // a smaller topic would be refused (bus/kafka/topic.cpp)
constexpr uint64_t kMessageBytesMax = 64 << 20;     // brokers refuse requests above 100 MB (socket.request.max.bytes)

Error Invalid(std::string message) { return Error(Errc::kInvalid, "kafka url: " + std::move(message)); }

template <size_t kCount>
bool OneOf(std::string_view value, const std::array<std::string_view, kCount>& allowed) {
  return std::find(allowed.begin(), allowed.end(), value) != allowed.end();
}

constexpr uint64_t kTransactionMsMin = 1000;
constexpr uint64_t kTransactionMsMax = 900'000;  // brokers refuse more (transaction.max.timeout.ms)

Result<uint64_t> Number(const std::string& key, const std::string& value, uint64_t min, uint64_t max) {
  uint64_t number = 0;
  const char* end = value.data() + value.size();
  const auto [stop, err] = std::from_chars(value.data(), end, number);
  if (err == std::errc() && stop == end && number >= min && number <= max) return number;
  return Invalid(fmt::format("{} is not a number from {} to {}", key, min, max));
}

Status TakeQuery(const Url& url, Endpoint& endpoint) {
  for (const auto& [key, value] : url.query) {
    if (key == "security.protocol") {
      constexpr std::array<std::string_view, 4> kAllowed = {"plaintext", "ssl", "sasl_plaintext", "sasl_ssl"};
      if (!OneOf(value, kAllowed))
        return Invalid("security.protocol is none of plaintext, ssl, sasl_plaintext, sasl_ssl");
      endpoint.properties[key] = value;
    } else if (key == "sasl.mechanism") {
      constexpr std::array<std::string_view, 3> kAllowed = {"PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"};
      if (!OneOf(value, kAllowed)) return Invalid("sasl.mechanism is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512");
      endpoint.properties[key] = value;
    } else if (key == "fencing") {
      if (value != "marker" && value != "transactional") return Invalid("fencing is neither marker nor transactional");
      endpoint.fencing = value == "transactional" ? Fencing::kTransactional : Fencing::kMarker;
    } else if (key == "max.message.bytes") {
      TRY_ASSIGN(endpoint.message_bytes_max, Number(key, value, kMessageBytesMin, kMessageBytesMax));
    } else if (key == "transaction.timeout.ms") {
      TRY_ASSIGN(const uint64_t timeout_ms, Number(key, value, kTransactionMsMin, kTransactionMsMax));
      endpoint.transaction_timeout = std::chrono::milliseconds(timeout_ms);
    } else {
      return Invalid(fmt::format(
          "unknown parameter '{}'; known: security.protocol, sasl.mechanism, fencing, transaction.timeout.ms, "
          "max.message.bytes",
          key));
    }
  }
  return Ok();
}

Status TakeCredentials(const Url& url, const Credentials& given, Endpoint& endpoint) {
  const bool in_url = !url.user.empty() || !url.password.empty();
  const std::string& user = in_url ? url.user : given.user;
  const std::string& password = in_url ? url.password : given.password;
  std::map<std::string, std::string>& properties = endpoint.properties;
  const bool tls_files = !given.tls_ca_file.empty() || !given.tls_cert_file.empty() || !given.tls_key_file.empty();
  if (properties.count("security.protocol") == 0) {
    // A password goes over an open connection only when that is asked for in so many words.
    properties["security.protocol"] = !user.empty() ? "sasl_ssl" : tls_files ? "ssl" : "plaintext";
  }
  const std::string protocol = properties["security.protocol"];
  const bool sasl = protocol.starts_with("sasl_");
  const bool tls = protocol.ends_with("ssl");
  if (sasl && user.empty()) return Invalid("security.protocol " + protocol + " needs a user");
  if (!sasl && !user.empty()) return Invalid("a user is given, but security.protocol " + protocol + " does not use it");
  if (!sasl && properties.count("sasl.mechanism") > 0) return Invalid("sasl.mechanism is given without a user");
  if (!tls && tls_files)
    return Invalid("TLS files are given, but security.protocol " + protocol + " does not use them");
  if (sasl) {
    properties.try_emplace("sasl.mechanism", "PLAIN");
    properties["sasl.username"] = user;
    properties["sasl.password"] = password;
  }
  if (!given.tls_ca_file.empty()) properties["ssl.ca.location"] = given.tls_ca_file;
  if (!given.tls_cert_file.empty()) properties["ssl.certificate.location"] = given.tls_cert_file;
  if (!given.tls_key_file.empty()) properties["ssl.key.location"] = given.tls_key_file;
  return Ok();
}

}  // namespace

Result<Endpoint> MakeEndpoint(const Url& url, const OpenOptions& options) {
  if (url.hosts.empty()) return Invalid("it needs a host");
  Endpoint endpoint;
  for (const HostPort& host : url.hosts) {
    endpoint.brokers += (endpoint.brokers.empty() ? "" : ",") + ToString(host, kDefaultPort);
  }
  endpoint.topic = "runnel." + url.name;
  endpoint.timeout = options.connect_timeout;
  endpoint.message_bytes_max = kMessageBytesDefault;
  endpoint.replicas = options.replicas;
  endpoint.retention = options.retention;
  endpoint.force = options.force;
  TRY(TakeQuery(url, endpoint));
  TRY(TakeCredentials(url, options.credentials, endpoint));
  if (!options.client_name.empty()) endpoint.properties["client.id"] = options.client_name;
  return endpoint;
}

}  // namespace runnel::bus::kafka
