// Feeds beside other work of a node, or by themselves, and what they say of themselves.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "ltx/base/metrics.h"
#include "ltx/base/result.h"
#include "subscriber/feed_runner.h"
#include "tools/feed_settings.h"
#include "tools/node_reporter.h"
#include "tools/node_server.h"

namespace runnel::tools {

// Each on a thread of its own; what ends one is in the log and ends nothing else.
class Feeds {
 public:
  // Errors: kInvalid.
  static Result<Feeds> Make(const std::vector<FeedSettings>& settings);

  void Start();
  void Stop();
  bool empty() const { return runners_.empty(); }
  std::vector<subscriber::FeedSnapshot> Snapshots() const;

 private:
  std::vector<std::unique_ptr<subscriber::FeedRunner>> runners_;
  std::vector<std::jthread> threads_;
};

nlohmann::json ToJson(const subscriber::FeedSnapshot& snapshot);
void UpdateMetrics(Metrics& metrics, const subscriber::FeedSnapshot& snapshot);
Readiness ReadinessOf(const subscriber::FeedSnapshot& snapshot);

// Called from the server's and the reporter's threads.
using FeedSnapshots = std::function<std::vector<subscriber::FeedSnapshot>()>;

// Adds "feeds" to /status, their metrics, and where the view has none of its own their positions and readiness: a
// subscriber is ready whatever its feeds do.
void AddFeeds(NodeView& view, const FeedSnapshots& snapshots, const std::string& node_name);
// `settings` as the snapshots.
std::vector<Reported> FeedsReportedBy(const FeedSnapshots& snapshots, const std::vector<FeedSettings>& settings,
                                      const std::string& node_name);

}  // namespace runnel::tools
