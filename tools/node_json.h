// What a node says of itself, as JSON (tools/JSON.md documents each field) and as metrics.
#pragma once

#include <chrono>
#include <string>

#include <nlohmann/json.hpp>

#include "publisher/database.h"
#include "subscriber/follower.h"

namespace runnel::tools {

nlohmann::json ToJson(const publisher::DatabaseSnapshot& snapshot);
nlohmann::json ToJson(const subscriber::FollowerSnapshot& snapshot);

// Whether the node's readers and operators may rely on it, and why not.
struct Readiness {
  bool ready = true;
  std::string reason;
};
Readiness ReadinessOf(const publisher::DatabaseSnapshot& snapshot);
Readiness ReadinessOf(const subscriber::FollowerSnapshot& snapshot, std::chrono::milliseconds ready_lag);

}  // namespace runnel::tools
