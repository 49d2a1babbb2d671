#include "tools/feed_view.h"

#include <chrono>
#include <filesystem>
#include <utility>

#include "bus/url.h"
#include "tools/labelled_metrics.h"

namespace runnel::tools {
namespace {

using std::chrono::milliseconds;
using subscriber::FeedSnapshot;

milliseconds LagOf(const FeedSnapshot& snapshot) { return snapshot.Lag(std::chrono::system_clock::now()); }

// What tells the feeds of a node apart: where they write, or for standard output where they keep their state.
std::string PathOf(const FeedSettings& settings) {
  if (settings.to.find("://") != std::string::npos) return bus::RedactUrl(settings.to);
  return std::filesystem::absolute(settings.state).string();
}

}  // namespace

Result<Feeds> Feeds::Make(const std::vector<FeedSettings>& settings) {
  Feeds feeds;
  for (const FeedSettings& one : settings) {
    Result<subscriber::FeedConfig> config = FeedConfigFor(one);
    if (!config.ok()) return config.error().With("feed of " + one.database);
    feeds.runners_.push_back(std::make_unique<subscriber::FeedRunner>(std::move(*config)));
  }
  return feeds;
}

void Feeds::Start() {
  for (const std::unique_ptr<subscriber::FeedRunner>& runner : runners_) {
    threads_.emplace_back([one = runner.get()](std::stop_token stop) { (void)one->Run(std::move(stop)).ok(); });
  }
}

void Feeds::Stop() {
  for (std::jthread& thread : threads_) thread.request_stop();
  threads_.clear();
}

std::vector<FeedSnapshot> Feeds::Snapshots() const {
  std::vector<FeedSnapshot> snapshots;
  for (const std::unique_ptr<subscriber::FeedRunner>& runner : runners_) snapshots.push_back(runner->Snapshot());
  return snapshots;
}

nlohmann::json ToJson(const FeedSnapshot& s) {
  const milliseconds lag = LagOf(s);
  nlohmann::json json = {{"name", s.name},
                         {"feed", s.feed},
                         {"bus", s.bus},
                         {"sink", s.sink},
                         {"state", ToString(s.state)},
                         {"trouble", s.trouble},
                         {"lineage", s.lineage},
                         {"told", ToString(s.feeder.position)},
                         {"head", ToString(s.head.txid)},
                         {"lag_commits", s.LagCommits()},
                         {"commits", s.feeder.commits},
                         {"events", s.feeder.events},
                         {"rows", s.feeder.rows},
                         {"repeated_events", s.feeder.skipped_events},
                         {"errors", s.errors},
                         {"waiting_bytes", s.waiting_bytes},
                         {"clients", s.clients}};
  // No number is honest before there is an image.
  json["lag_ms"] = lag == milliseconds::max() ? nlohmann::json() : nlohmann::json(lag.count());
  json["delivered"] = s.feeder.delivered ? nlohmann::json(feed::ToString(*s.feeder.delivered)) : nlohmann::json();
  return json;
}

void UpdateMetrics(Metrics& metrics, const FeedSnapshot& s) {
  const LabelledMetrics of_feed(metrics, {{"db", s.name}, {"feed", s.feed}});
  of_feed.Gauge("runnel_feed_streaming", "1 while the feed tells what the log brings",
                s.state == subscriber::FeedRunState::kStreaming ? 1 : 0);
  of_feed.Gauge("runnel_feed_told_txid", "TXID of the newest commit told", s.feeder.position.txid.raw());
  of_feed.Gauge("runnel_feed_lag_commits", "Commits of the log not told yet", s.LagCommits());
  if (const milliseconds lag = LagOf(s); lag != milliseconds::max()) {
    of_feed.Gauge("runnel_feed_lag_seconds", "Age of the newest commit told while newer ones wait, else 0",
                  static_cast<double>(lag.count()) / 1000);
  }
  of_feed.Count("runnel_feed_commits_total", "Commits the feed has moved over", s.feeder.commits);
  of_feed.Count("runnel_feed_events_total", "Events given to the sink", s.feeder.events);
  of_feed.Count("runnel_feed_rows_total", "Row changes among them", s.feeder.rows);
  of_feed.Count("runnel_feed_repeated_events_total", "Events left out because the sink had them",
                s.feeder.skipped_events);
  of_feed.Count("runnel_feed_errors_total", "Times the feed had to begin again, or ended", s.errors);
  of_feed.Gauge("runnel_feed_sink_waiting_bytes", "Bytes the sink has taken and not made safe yet", s.waiting_bytes);
  of_feed.Gauge("runnel_feed_sink_clients", "Clients connected to the sink, where it knows", s.clients);
}

Readiness ReadinessOf(const FeedSnapshot& s) {
  if (s.state == subscriber::FeedRunState::kStreaming) return {};
  const std::string reason = "the feed " + s.feed + " of " + s.name + " is " + std::string(ToString(s.state));
  return {false, s.trouble.empty() ? reason : reason + ": " + s.trouble};
}

void AddFeeds(NodeView& view, const FeedSnapshots& snapshots, const std::string& node_name) {
  view.status = [snapshots, node_name, before = std::move(view.status)] {
    nlohmann::json json = before ? before() : nlohmann::json{{"role", "feed"}, {"node", node_name}};
    json["feeds"] = nlohmann::json::array();
    for (const FeedSnapshot& snapshot : snapshots()) json["feeds"].push_back(ToJson(snapshot));
    return json;
  };
  view.update_metrics = [snapshots, before = std::move(view.update_metrics)](Metrics& metrics) {
    if (before) before(metrics);
    for (const FeedSnapshot& snapshot : snapshots()) UpdateMetrics(metrics, snapshot);
  };
  if (view.positions) return;
  view.positions = [snapshots] {
    nlohmann::json positions = nlohmann::json::object();
    for (const FeedSnapshot& snapshot : snapshots()) positions[snapshot.name] = ToString(snapshot.feeder.position);
    return positions;
  };
  view.readiness = [snapshots] {
    for (const FeedSnapshot& snapshot : snapshots()) {
      Readiness readiness = ReadinessOf(snapshot);
      if (!readiness.ready) return readiness;
    }
    return Readiness();
  };
}

std::vector<Reported> FeedsReportedBy(const FeedSnapshots& snapshots, const std::vector<FeedSettings>& settings,
                                      const std::string& node_name) {
  std::vector<Reported> reported;
  for (size_t i = 0; i < settings.size(); ++i) {
    auto status = [snapshots, i] {
      const FeedSnapshot snapshot = snapshots()[i];
      return nlohmann::json{{"state", ToString(snapshot.state)},
                            {"trouble", snapshot.trouble},
                            {"position", ToString(snapshot.feeder.position)}};
    };
    reported.push_back({settings[i].bus_url, settings[i].bus, "feed", node_name, PathOf(settings[i]), status});
  }
  return reported;
}

}  // namespace runnel::tools
