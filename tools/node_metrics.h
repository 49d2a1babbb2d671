// The Prometheus metrics of a node, copied from its snapshots at each scrape: runnel_<stage>_<what>_<unit>.
#pragma once

#include <vector>

#include "bus/shared.h"
#include "ltx/base/metrics.h"
#include "publisher/database.h"
#include "subscriber/follower.h"

namespace runnel::tools {

void UpdateMetrics(Metrics& metrics, const publisher::DatabaseSnapshot& snapshot);
void UpdateMetrics(Metrics& metrics, const subscriber::FollowerSnapshot& snapshot);
void UpdateMetrics(Metrics& metrics, const std::vector<bus::Statistic>& statistics);

}  // namespace runnel::tools
