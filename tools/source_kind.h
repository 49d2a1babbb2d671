// Which of the URLs given is an archive and which a bus: file:// and nats:// name both kinds.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "tools/node_config.h"

namespace runnel::tools {

struct Sources {
  std::optional<std::string> archive;
  std::optional<std::string> bus;
};

// Asks the bus whether there is a log under a URL that could be either, as `settings` say that it is opened. Errors:
// kInvalid (no URL, two of one kind), kUnavailable.
Result<Sources> SourcesOf(const NodeSettings& settings, const std::vector<std::string>& urls);

}  // namespace runnel::tools
