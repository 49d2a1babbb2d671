// runnel subscribe [BUS REPLICA]: the subscriber node.
#include <csignal>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ltx/base/signals.h"
#include "ltx/base/time.h"
#include "subscriber/archive/node.h"
#include "subscriber/node.h"
#include "tools/archive_view.h"
#include "tools/command.h"
#include "tools/feed_settings.h"
#include "tools/feed_view.h"
#include "tools/node_config.h"
#include "tools/node_json.h"
#include "tools/node_metrics.h"
#include "tools/node_reporter.h"
#include "tools/node_server.h"

namespace runnel::tools {
namespace {

struct SubscribeOptions {
  std::string bus;
  std::string replica;
  std::string archive;
  std::string http;
  bool force = false;
};

NodeView ViewOf(subscriber::Node& node, const NodeSettings& settings) {
  NodeView view;
  std::string name = settings.subscriber.node_name;
  std::chrono::milliseconds ready_lag = settings.ready_lag;
  view.status = [&node, name] {
    nlohmann::json replicas = nlohmann::json::array();
    for (const subscriber::FollowerSnapshot& snapshot : node.Snapshots()) replicas.push_back(ToJson(snapshot));
    return nlohmann::json{{"role", "subscriber"}, {"node", name}, {"replicas", std::move(replicas)}};
  };
  view.readiness = [&node, ready_lag] {
    for (const subscriber::FollowerSnapshot& snapshot : node.Snapshots()) {
      Readiness readiness = ReadinessOf(snapshot, ready_lag);
      if (!readiness.ready) return readiness;
    }
    return Readiness();
  };
  view.positions = [&node] {
    nlohmann::json positions = nlohmann::json::object();
    for (const subscriber::FollowerSnapshot& snapshot : node.Snapshots())
      positions[snapshot.name] = ToString(snapshot.applied);
    return positions;
  };
  view.wait = [&node](const std::string& db, Txid txid, std::chrono::milliseconds timeout,
                      std::stop_token stop) -> Result<bool> {
    subscriber::Follower* follower = node.Find(db);
    if (follower == nullptr) return Error(Errc::kNotFound, "no replica of a database named \"" + db + "\" here");
    return follower->WaitFor(txid, DeadlineIn(timeout), std::move(stop));
  };
  view.update_metrics = [&node](Metrics& metrics) {
    for (const subscriber::FollowerSnapshot& snapshot : node.Snapshots()) UpdateMetrics(metrics, snapshot);
    UpdateMetrics(metrics, node.BusStatistics());
  };
  return view;
}

std::vector<Reported> ReportedBy(const subscriber::Node& node, const subscriber::NodeConfig& config) {
  std::vector<Reported> reported;
  for (size_t i = 0; i < config.replicas.size(); ++i) {
    const subscriber::ReplicaConfig& replica = config.replicas[i];
    auto status = [&node, i] {
      subscriber::FollowerSnapshot snapshot = node.Snapshots()[i];
      return nlohmann::json{
          {"state", ToString(snapshot.state)}, {"trouble", snapshot.trouble}, {"position", ToString(snapshot.applied)}};
    };
    std::string path = std::filesystem::absolute(replica.replica.path).string();
    reported.push_back({replica.bus_url, replica.bus, "subscriber", config.node_name, path, status});
  }
  return reported;
}

Result<NodeSettings> SettingsFor(const Context& context, const SubscribeOptions& options) {
  TRY_ASSIGN(NodeSettings settings, LoadSettings(context.config_file));
  if (!options.bus.empty()) {
    if (options.replica.empty()) return Error(Errc::kInvalid, "subscribe BUS needs a REPLICA file too");
    TRY_ASSIGN(subscriber::ReplicaConfig replica, ReplicaFor(settings, options.bus, options.replica));
    if (!options.archive.empty()) {
      TRY_ASSIGN(archive::ArchiveConfig archive, ArchiveFor(settings, options.bus, options.archive));
      replica.archive_url = archive.archive_url;
      replica.store = archive.store;
    }
    settings.subscriber.replicas = {std::move(replica)};
    std::erase_if(settings.subscriber_archives,
                  [&](const archive::ArchiveConfig& archive) { return archive.bus_url != options.bus; });
    std::erase_if(settings.feeds, [&](const FeedSettings& feed) { return feed.bus_url != options.bus; });
  }
  if (options.bus.empty() && !options.archive.empty()) {
    return Error(Errc::kInvalid, "--archive belongs to subscribe BUS REPLICA; in a configuration file it is archive:");
  }
  if (settings.subscriber.replicas.empty()) {
    return Error(Errc::kInvalid,
                 "nothing to subscribe to: give BUS and REPLICA, or a configuration file with replicas:");
  }
  for (subscriber::ReplicaConfig& replica : settings.subscriber.replicas) {
    replica.replace = options.force;
    replica.bus.force = options.force;
    replica.bus.client_name = "runnel subscribe " + replica.name;
  }
  if (!options.http.empty()) settings.http = options.http;
  return settings;
}

int Subscribe(const Context& context, const SubscribeOptions& options) {
  Result<std::unique_ptr<Signals>> signals = Signals::Install();
  if (!signals.ok()) return Fail(signals.error());
  Result<NodeSettings> settings = SettingsFor(context, options);
  if (!settings.ok()) return Fail(settings.error());
  subscriber::Node node(settings->subscriber);
  archive::Node archives(settings->subscriber_archives, node.shared());
  for (FeedSettings& feed : settings->feeds) feed.bus.shared = node.shared();
  Result<Feeds> feeds = Feeds::Make(settings->feeds);
  if (!feeds.ok()) return Fail(feeds.error());
  NodeView view = ViewOf(node, *settings);
  if (!archives.empty()) AddArchives(view, archives, settings->subscriber.node_name);
  const FeedSnapshots snapshots = [&feeds] { return feeds->Snapshots(); };
  if (!feeds->empty()) AddFeeds(view, snapshots, settings->subscriber.node_name);
  Result<std::unique_ptr<NodeServer>> server = NodeServer::Start(settings->http, std::move(view));
  if (!server.ok()) return Fail(server.error());
  node.Start();
  archives.Start();
  feeds->Start();
  std::vector<Reported> reported = ReportedBy(node, settings->subscriber);
  for (Reported& one : ArchivesReportedBy(archives, settings->subscriber_archives)) reported.push_back(std::move(one));
  for (Reported& one : FeedsReportedBy(snapshots, settings->feeds, settings->subscriber.node_name)) {
    reported.push_back(std::move(one));
  }
  auto reporter = std::make_unique<NodeReporter>(std::move(reported), node.shared());
  Status ended = node.Wait((*signals)->stop_token());
  feeds->Stop();
  // What ended an archiver is in the log; it is no reason for a subscriber to fail.
  (void)archives.Stop(settings->publisher.shutdown_timeout).ok();
  reporter.reset();
  server->reset();
  if (!ended.ok()) return Fail(ended.error());
  return (*signals)->signal() == SIGINT ? (*signals)->exit_code() : kExitOk;
}

}  // namespace

void AddSubscribe(CLI::App& app, Context& context) {
  auto options = std::make_shared<SubscribeOptions>();
  CLI::App* verb = app.add_subcommand("subscribe", "Keep replica files current from a bus");
  verb->fallthrough();
  verb->add_option("BUS", options->bus,
                   "nats://host/NAME, tls://host/NAME or file:///dir/NAME (default: all of the configuration)");
  verb->add_option("REPLICA", options->replica, "Replica file");
  verb->add_option("--archive", options->archive,
                   "Archive of this bus: begin with its newest image, and catch up from it what the bus has lost");
  verb->add_option("--http", options->http, "Address of /status and /metrics, or off");
  verb->add_flag("--force", options->force, "Replace a file that is not our replica");
  verb->callback([&context, options] { context.run = [&context, options] { return Subscribe(context, *options); }; });
}

}  // namespace runnel::tools
