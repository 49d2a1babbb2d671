#include "bus/kafka/statistics.h"

#include <algorithm>

#include <nlohmann/json.hpp>

namespace runnel::bus::kafka {
namespace {

constexpr double kMicro = 1e-6;

double Number(const nlohmann::json& object, const char* key) {
  if (!object.is_object()) return 0;
  const auto found = object.find(key);
  return found != object.end() && found->is_number() ? found->get<double>() : 0;
}

}  // namespace

ClientNumbers ParseStatistics(std::string_view json) {
  ClientNumbers numbers;
  const nlohmann::json all = nlohmann::json::parse(json, nullptr, false);
  if (!all.is_object()) return numbers;
  numbers.sent_messages = Number(all, "txmsgs");
  numbers.sent_bytes = Number(all, "txmsg_bytes");
  numbers.received_messages = Number(all, "rxmsgs");
  numbers.received_bytes = Number(all, "rxmsg_bytes");
  numbers.queued_messages = Number(all, "msg_cnt");
  const auto brokers = all.find("brokers");
  if (brokers == all.end() || !brokers->is_object()) return numbers;
  for (const auto& [name, broker] : brokers->items()) {
    const auto round_trip = broker.is_object() ? broker.find("rtt") : broker.end();
    if (broker.is_object() && round_trip != broker.end()) {
      numbers.round_trip_p50_s = std::max(numbers.round_trip_p50_s, Number(*round_trip, "p50") * kMicro);
      numbers.round_trip_p99_s = std::max(numbers.round_trip_p99_s, Number(*round_trip, "p99") * kMicro);
    }
    numbers.retries += Number(broker, "txretries");
    numbers.request_timeouts += Number(broker, "req_timeouts");
    numbers.disconnects += Number(broker, "disconnects");
  }
  return numbers;
}

void AppendStatistics(const std::string& client, const ClientNumbers& numbers, std::vector<Statistic>& out) {
  const auto add = [&](const char* name, const char* help, double value, bool is_total) {
    out.push_back(Statistic{name, help, {{"client", client}}, value, is_total});
  };
  add("kafka_sent_messages_total", "Messages sent to Kafka", numbers.sent_messages, true);
  add("kafka_sent_bytes_total", "Bytes of messages sent to Kafka", numbers.sent_bytes, true);
  add("kafka_received_messages_total", "Messages received from Kafka", numbers.received_messages, true);
  add("kafka_received_bytes_total", "Bytes of messages received from Kafka", numbers.received_bytes, true);
  add("kafka_queued_messages", "Messages sent and not yet acknowledged by Kafka", numbers.queued_messages, false);
  add("kafka_round_trip_p50_seconds", "Median round trip to the slowest broker", numbers.round_trip_p50_s, false);
  add("kafka_round_trip_p99_seconds", "99th percentile of round trips to the slowest broker", numbers.round_trip_p99_s,
      false);
  add("kafka_retries_total", "Requests to Kafka that were tried again", numbers.retries, true);
  add("kafka_request_timeouts_total", "Requests that Kafka did not answer in time", numbers.request_timeouts, true);
  add("kafka_disconnects_total", "Connections to brokers that ended", numbers.disconnects, true);
}

}  // namespace runnel::bus::kafka
