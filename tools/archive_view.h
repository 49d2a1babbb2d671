// What archivers say of themselves, wherever they run: by themselves, in a publisher or in a subscriber.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ltx/base/metrics.h"
#include "subscriber/archive/archiver.h"
#include "subscriber/archive/config.h"
#include "subscriber/archive/node.h"
#include "tools/node_reporter.h"
#include "tools/node_server.h"

namespace runnel::tools {

nlohmann::json ToJson(const archive::ArchiverSnapshot& snapshot);
void UpdateMetrics(Metrics& metrics, const archive::ArchiverSnapshot& snapshot);
Readiness ReadinessOf(const archive::ArchiverSnapshot& snapshot);

// Adds "archives" to /status, their metrics, and their positions where the view has none of its own (then the
// readiness too: a publisher or a subscriber is ready whatever its archive does). LIFETIME: the node outlives the view.
void AddArchives(NodeView& view, const archive::Node& node, const std::string& node_name);
std::vector<Reported> ArchivesReportedBy(const archive::Node& node, const std::vector<archive::ArchiveConfig>& configs);

}  // namespace runnel::tools
