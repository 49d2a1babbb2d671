// What librdkafka says of one client, picked out of its JSON (its STATISTICS.md has all of it).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "bus/shared.h"

namespace runnel::bus::kafka {

struct ClientNumbers {
  double sent_messages = 0;
  double sent_bytes = 0;
  double received_messages = 0;
  double received_bytes = 0;
  double queued_messages = 0;  // sent by us, not yet acknowledged
  // Over all brokers: of the slowest, in seconds, and sums.
  double round_trip_p50_s = 0;
  double round_trip_p99_s = 0;
  double retries = 0;
  double request_timeouts = 0;
  double disconnects = 0;
  bool operator==(const ClientNumbers&) const = default;
};

// Pure. What is missing or not a number is 0: the text is another program's.
ClientNumbers ParseStatistics(std::string_view json);

// As metrics, with the client's name as their label.
void AppendStatistics(const std::string& client, const ClientNumbers& numbers, std::vector<Statistic>& out);

}  // namespace runnel::bus::kafka
