#include "bus/kafka/client.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "ltx/base/check.h"

namespace runnel::bus::kafka {
namespace {

using std::chrono::milliseconds;

constexpr size_t kErrorTextBytes = 512;
// How long one question waits before we look whether the credentials were refused meanwhile.
constexpr milliseconds kSlice(250);
// Making them costs librdkafka a tenth of a millisecond a topic.
constexpr char kStatisticsMs[] = "5000";
// librdkafka's own random number in SCRAM was not what Kafka 4 accepts until this version.
constexpr int kScramFixedVersion = 0x020601ff;

bool IsRefusal(rd_kafka_resp_err_t code) {
  switch (code) {
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_UNSUPPORTED_SASL_MECHANISM:
    case RD_KAFKA_RESP_ERR_ILLEGAL_SASL_STATE:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_TRANSACTIONAL_ID_AUTHORIZATION_FAILED: return true;
    default: return false;
  }
}

bool IsMissing(rd_kafka_resp_err_t code) {
  return code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || code == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC ||
         code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
}

Status Set(rd_kafka_conf_t* conf, const std::string& key, const std::string& value) {
  std::array<char, kErrorTextBytes> text = {};
  if (rd_kafka_conf_set(conf, key.c_str(), value.c_str(), text.data(), text.size()) == RD_KAFKA_CONF_OK) return Ok();
  // The library's text repeats the value, which may be a password.
  return Error(Errc::kInvalid,
               fmt::format("kafka: librdkafka {} does not take the value of {}", rd_kafka_version_str(), key));
}

}  // namespace

Result<std::unique_ptr<Client>> Client::Make(const Servers& servers, Options options) {
  ConfHandle conf(rd_kafka_conf_new());
  Properties properties = {
      {"bootstrap.servers", servers.brokers},
      {"socket.timeout.ms", std::to_string(kSocketTimeout.count())},
      {"socket.nagle.disable", "true"},
      {"socket.connection.setup.timeout.ms", std::to_string(std::max<int64_t>(1000, servers.timeout.count()))},
      {"reconnect.backoff.ms", "50"},
      {"reconnect.backoff.max.ms", "1000"},
      // Broken connections of idle times are normal: they are made again without a word.
      {"log.connection.close", "false"}};
  properties.insert(properties.end(), servers.properties.begin(), servers.properties.end());
  properties.insert(properties.end(), options.properties.begin(), options.properties.end());
  for (const auto& [key, value] : properties) TRY(Set(conf.get(), key, value));

  std::unique_ptr<Client> client(new Client(servers, std::move(options.on_delivery)));
  rd_kafka_conf_set_opaque(conf.get(), client.get());
  rd_kafka_conf_set_error_cb(conf.get(), [](rd_kafka_t*, int code, const char* reason, void* opaque) {
    static_cast<Client*>(opaque)->NoteError(static_cast<rd_kafka_resp_err_t>(code), reason);
  });
  rd_kafka_conf_set_log_cb(conf.get(), [](const rd_kafka_t*, int, const char*, const char*) {});
  if (options.statistics) {
    TRY(Set(conf.get(), "statistics.interval.ms", kStatisticsMs));
    rd_kafka_conf_set_stats_cb(conf.get(), [](rd_kafka_t*, char* json, size_t size, void* opaque) {
      static_cast<Client*>(opaque)->NoteStatistics(std::string_view(json, size));
      return 0;  // librdkafka frees the text
    });
  }
  if (client->on_delivery_) {
    rd_kafka_conf_set_dr_msg_cb(conf.get(), [](rd_kafka_t*, const rd_kafka_message_t* message, void* opaque) {
      static_cast<Client*>(opaque)->on_delivery_(*message);
    });
  }
  std::array<char, kErrorTextBytes> text = {};
  rd_kafka_t* handle = rd_kafka_new(options.type, conf.get(), text.data(), text.size());
  if (handle == nullptr) return Error(Errc::kInvalid, fmt::format("kafka {}: {}", servers.brokers, text.data()));
  (void)conf.release();  // the client owns it now
  client->handle_.reset(handle);
  return client;
}

void Client::NoteError(rd_kafka_resp_err_t code, const char* reason) {
  if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) {
    all_brokers_down_ = true;
    return;
  }
  const MutexLock lock(mutex_);
  if (IsRefusal(last_code_) && !IsRefusal(code)) return;  // "connection closed" follows each refusal and says less
  last_code_ = code;
  last_reason_ = reason;
}

void Client::NoteStatistics(std::string_view json) {
  const ClientNumbers numbers = ParseStatistics(json);
  const MutexLock lock(mutex_);
  numbers_ = numbers;
}

ClientNumbers Client::numbers() const {
  const MutexLock lock(mutex_);
  return numbers_;
}

bool Client::refused() const {
  const MutexLock lock(mutex_);
  return IsRefusal(last_code_);
}

Error Client::Describe(std::string_view what, rd_kafka_resp_err_t code, std::string_view text) {
  std::string message = fmt::format("kafka {}: {}: {}", servers_.brokers, what, text);
  rd_kafka_resp_err_t last_code = RD_KAFKA_RESP_ERR_NO_ERROR;
  {
    const MutexLock lock(mutex_);
    last_code = last_code_;
    if (!last_reason_.empty()) message += fmt::format(" ({})", last_reason_);
  }
  if (IsMissing(code)) return Error(Errc::kNotFound, message);
  if (!IsRefusal(code) && !IsRefusal(last_code)) return Error(Errc::kUnavailable, message);
  const auto mechanism = servers_.properties.find("sasl.mechanism");
  if (mechanism != servers_.properties.end() && mechanism->second.starts_with("SCRAM") &&
      rd_kafka_version() < kScramFixedVersion) {
    message +=
        fmt::format("; librdkafka {} cannot do SCRAM with Kafka 4: use PLAIN over TLS there", rd_kafka_version_str());
  }
  return Error(Errc::kInvalid, message);
}

Error Client::MakeError(std::string_view what, rd_kafka_resp_err_t code) {
  return Describe(what, code, rd_kafka_err2str(code));
}

Error Client::MakeError(std::string_view what, const rd_kafka_error_t& error) {
  return Describe(what, rd_kafka_error_code(&error), rd_kafka_error_string(&error));
}

Result<MetadataHandle> Client::AskMetadata(rd_kafka_topic_t* topic) {
  const SteadyTime deadline = DeadlineIn(servers_.timeout);
  all_brokers_down_ = false;
  {
    // A refusal of yesterday is no reason to fail today: if it still holds, it comes again.
    const MutexLock lock(mutex_);
    last_code_ = RD_KAFKA_RESP_ERR_NO_ERROR;
    last_reason_.clear();
  }
  while (true) {
    const struct rd_kafka_metadata* raw = nullptr;
    const int wait_ms = static_cast<int>(std::min(kSlice, TimeLeft(deadline)).count());
    const rd_kafka_resp_err_t code = rd_kafka_metadata(get(), 0, topic, &raw, wait_ms);
    MetadataHandle metadata(raw);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
      HeardFromBroker();
      return metadata;
    }
    Poll(milliseconds(0));
    if (refused() || all_brokers_down_ || TimeLeft(deadline) == milliseconds(0))
      return MakeError("ask for metadata", code);
  }
}

}  // namespace runnel::bus::kafka
