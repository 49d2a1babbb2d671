// Small text forms of the JetStream wire: reply subjects, times, base64. All input comes from the network.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "bus/bus.h"

namespace runnel::bus::nats {

// Sequence and time of a message that a consumer delivered.
struct Delivery {
  StreamSeq seq;
  WallTime stored_at;
};

// From its reply subject; nullopt if it is none. Two forms are in use:
//   $JS.ACK.<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<ns since 1970>.<pending>
//   $JS.ACK.<domain>.<account hash>.<stream>.<consumer>.<delivered>.<stream seq>.<consumer
//   seq>.<ns>.<pending>[.<token>]
std::optional<Delivery> ParseDelivery(std::string_view reply);

// RFC 3339: "2026-11-21T10:33:59.123456789Z", up to nine decimals, Z or an offset. Below a microsecond is cut off.
std::optional<WallTime> ParseTime(std::string_view text);
std::string FormatTime(WallTime time);

// Standard alphabet with padding.
std::optional<std::string> DecodeBase64(std::string_view text);

}  // namespace runnel::bus::nats
