// runnel feed BUS: row changes as events.
#include <csignal>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>

#include "bus/url.h"
#include "ltx/base/signals.h"
#include "ltx/base/units.h"
#include "subscriber/feed/sink/open.h"
#include "subscriber/feed_runner.h"
#include "tools/command.h"
#include "tools/node_config.h"
#include "tools/version.h"

namespace runnel::tools {
namespace {

struct FeedOptions {
  std::string bus;
  std::string replica;
  std::string state;
  std::string from;
  std::vector<std::string> tables;
  std::vector<std::string> exclude;
  std::string format = "debezium";
  std::string to = "stdout";
  std::string name;
  std::string max_value;
  bool once = false;
};

// Beside the replica if there is one, else in the working directory.
std::string StateDirOf(const FeedOptions& options, const std::string& name) {
  if (!options.state.empty()) return options.state;
  if (!options.replica.empty()) return options.replica + "-runnel/feed";
  return "runnel-feed-" + name;
}

Result<subscriber::FeedConfig> ConfigFor(const Context& context, const FeedOptions& options) {
  TRY_ASSIGN(NodeSettings settings, LoadSettings(context.config_file));
  TRY_ASSIGN(subscriber::ReplicaConfig replica, ReplicaFor(settings, options.bus, options.replica));
  subscriber::FeedConfig config;
  config.bus_url = options.bus;
  config.name = replica.name;
  config.bus = replica.bus;
  config.bus.client_name = "runnel feed " + replica.name;
  config.state_dir = StateDirOf(options, replica.name);
  if (!options.from.empty()) {
    TRY_ASSIGN(config.start, subscriber::ParseFeedStart(options.from));
  }
  config.include = options.tables;
  config.exclude = options.exclude;
  if (options.format != "debezium" && options.format != "protobuf") {
    return Error(Errc::kInvalid, "--format " + options.format + ": debezium or protobuf");
  }
  config.format = options.format == "debezium" ? feed::EventFormat::kDebezium : feed::EventFormat::kProtobuf;
  if (!options.max_value.empty()) {
    TRY_ASSIGN(config.value_bytes_max, ParseSize(options.max_value));
  }
  TRY_ASSIGN(feed::SinkTraits traits, feed::TraitsOfSink(options.to));
  config.feed_name = !options.name.empty() ? options.name : !traits.prefix.empty() ? traits.prefix : "runnel";
  config.version = kVersion;
  config.keys = traits.keys;
  config.once = options.once;
  feed::SinkOptions sink{options.to, config.name, config.format, config.bus};
  config.open_sink = [sink] { return feed::OpenSink(sink); };
  return config;
}

int RunFeed(const Context& context, const FeedOptions& options) {
  Result<std::unique_ptr<Signals>> signals = Signals::Install();
  if (!signals.ok()) return Fail(signals.error());
  Result<subscriber::FeedConfig> config = ConfigFor(context, options);
  if (!config.ok()) return Fail(config.error());
  subscriber::FeedRunner runner(std::move(*config));
  Status ended = runner.Run((*signals)->stop_token());
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
  verb->add_option("--to", options->to, "stdout, nats://host/SUBJECT-PREFIX or kafka://broker/TOPIC-PREFIX")
      ->capture_default_str();
  verb->add_option("--from", options->from, "earliest, latest or a token (default: where it ended)");
  verb->add_option("--table", options->tables, "Only these tables (* and ?), may be repeated");
  verb->add_option("--exclude", options->exclude, "Not these tables, may be repeated");
  verb->add_option("--format", options->format, "debezium (JSON) or protobuf")->capture_default_str();
  verb->add_option("--name", options->name, "Name of the feed in its events (default: the sink's prefix)");
  verb->add_option("--max-value", options->max_value, "Cut longer texts and blobs, such as 1MB (default: whole)");
  verb->add_option("--replica", options->replica, "Keep the feed's state beside this replica");
  verb->add_option("--state", options->state, "Directory of the feed's state (default: ./runnel-feed-NAME)");
  verb->add_flag("--once", options->once, "End at what is the newest commit now");
  verb->callback([&context, options] { context.run = [&context, options] { return RunFeed(context, *options); }; });
}

}  // namespace runnel::tools
