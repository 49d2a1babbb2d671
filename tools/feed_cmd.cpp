// runnel feed BUS: row changes as events.
#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "bus/open.h"
#include "ltx/base/signals.h"
#include "ltx/base/units.h"
#include "subscriber/feed_runner.h"
#include "tools/command.h"
#include "tools/feed_settings.h"
#include "tools/feed_view.h"
#include "tools/node_config.h"
#include "tools/node_reporter.h"
#include "tools/node_server.h"

namespace runnel::tools {
namespace {

struct FeedOptions {
  std::string bus;
  std::string replica;
  std::string archive;
  std::string state;
  std::string from;
  std::vector<std::string> tables;
  std::vector<std::string> exclude;
  std::string format = "debezium";
  bool schemas = false;
  std::string to = "stdout";
  std::string name;
  std::string max_value;
  std::string http = "off";
  bool once = false;
};

// Beside the replica if there is one, else in the working directory.
std::string StateDirOf(const FeedOptions& options, const std::string& name) {
  if (!options.state.empty()) return options.state;
  if (!options.replica.empty()) return options.replica + "-runnel/feed";
  return "runnel-feed-" + name;
}

Result<FeedSettings> SettingsFor(const NodeSettings& settings, const FeedOptions& options) {
  TRY_ASSIGN(subscriber::ReplicaConfig replica, ReplicaFor(settings, options.bus, options.replica));
  FeedSettings feed;
  feed.bus_url = options.bus;
  feed.database = replica.name;
  feed.bus = replica.bus;
  if (!options.archive.empty()) {
    TRY_ASSIGN(archive::ArchiveConfig archive, ArchiveFor(settings, options.bus, options.archive));
    feed.archive = archive.archive_url;
    feed.store = archive.store;
  }
  feed.state = StateDirOf(options, replica.name);
  feed.from = options.from;
  feed.tables = options.tables;
  feed.exclude = options.exclude;
  feed.format = options.format;
  feed.schemas = options.schemas;
  feed.to = options.to;
  feed.name = options.name;
  if (!options.max_value.empty()) {
    TRY_ASSIGN(feed.value_bytes_max, ParseSize(options.max_value));
  }
  feed.once = options.once;
  return feed;
}

// The feed, seen from outside while it runs.
Status Run(const NodeSettings& node, const FeedSettings& settings, const std::string& http, std::stop_token stop) {
  TRY_ASSIGN(subscriber::FeedConfig config, FeedConfigFor(settings));
  subscriber::FeedRunner runner(std::move(config));
  const FeedSnapshots snapshots = [&runner] { return std::vector{runner.Snapshot()}; };
  NodeView view;
  AddFeeds(view, snapshots, node.subscriber.node_name);
  TRY_ASSIGN(std::unique_ptr<NodeServer> server, NodeServer::Start(http, std::move(view)));
  std::unique_ptr<NodeReporter> reporter;
  if (!settings.once) {
    reporter = std::make_unique<NodeReporter>(FeedsReportedBy(snapshots, {settings}, node.subscriber.node_name),
                                              std::make_shared<bus::Shared>());
  }
  return runner.Run(std::move(stop));
}

int RunFeed(const Context& context, const FeedOptions& options) {
  Result<std::unique_ptr<Signals>> signals = Signals::Install();
  if (!signals.ok()) return Fail(signals.error());
  Result<NodeSettings> node = LoadSettings(context.config_file);
  if (!node.ok()) return Fail(node.error());
  Result<FeedSettings> settings = SettingsFor(*node, options);
  if (!settings.ok()) return Fail(settings.error());
  Status ended = Run(*node, *settings, options.http, (*signals)->stop_token());
  if (!ended.ok()) return Fail(ended.error());
  return (*signals)->signal() == SIGINT ? (*signals)->exit_code() : kExitOk;
}

}  // namespace

void AddFeed(CLI::App& app, Context& context) {
  auto options = std::make_shared<FeedOptions>();
  CLI::App* verb = app.add_subcommand("feed", "Tell the row changes of a database as events");
  verb->fallthrough();
  verb->add_option("BUS", options->bus, "The database's log: nats://host/NAME, kafka://host/NAME or file:///dir/NAME")
      ->required();
  verb->add_option(
          "--to", options->to,
          "stdout, nats://host/SUBJECT-PREFIX, kafka://broker/TOPIC-PREFIX, or sse://host:port/PREFIX to listen "
          "there for HTTP clients (server-sent events)")
      ->capture_default_str();
  verb->add_option("--from", options->from, "earliest, latest or a token (default: where it ended)");
  verb->add_option("--table", options->tables, "Only these tables (* and ?), may be repeated");
  verb->add_option("--exclude", options->exclude, "Not these tables, may be repeated");
  verb->add_option("--format", options->format, "debezium (JSON) or protobuf")->capture_default_str();
  verb->add_flag("--schemas", options->schemas,
                 "Write schemas with the events, as Kafka Connect's JSON converter does");
  verb->add_option("--name", options->name, "Name of the feed in its events (default: the sink's prefix)");
  verb->add_option("--max-value", options->max_value, "Cut longer texts and blobs, such as 1MB (default: whole)");
  verb->add_option("--archive", options->archive,
                   "Archive of this bus: take from it what the bus has not got any more");
  verb->add_option("--replica", options->replica, "Keep the feed's state beside this replica");
  verb->add_option("--state", options->state, "Directory of the feed's state (default: ./runnel-feed-NAME)");
  verb->add_option("--http", options->http, "Address of /status and /metrics, or off")->capture_default_str();
  verb->add_flag("--once", options->once, "End at what is the newest commit now");
  verb->callback([&context, options] { context.run = [&context, options] { return RunFeed(context, *options); }; });
}

}  // namespace runnel::tools
