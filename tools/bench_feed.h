// How many events a second the change feed tells.
#pragma once

#include <cstdint>
#include <string>

#include <nlohmann/json_fwd.hpp>

#include "ltx/base/result.h"

namespace runnel::tools {

// A database of this size, four logs: bulk updates, updates of ten rows and of one row at random places, one row added
// at the end; each told to /dev/null on one core, trees of the image walked before the clock starts. `self`: this
// program, run as the publisher.
Result<nlohmann::json> BenchFeed(const std::string& self, uint64_t mib);

}  // namespace runnel::tools
