// How many events a second the change feed tells.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ltx/base/result.h"

namespace runnel::tools {

// A database of this size, three logs: bulk commits, commits of ten rows, commits of one row; each told to /dev/null on
// one core. `self`: this program, run as the publisher.
Result<nlohmann::json> BenchFeed(const std::string& self, uint64_t mib);

}  // namespace runnel::tools
