// runnel publish [DB BUS]: the publisher node.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
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
#include "publisher/node.h"
#include "publisher/yielding.h"
#include "subscriber/archive/node.h"
#include "tools/archive_view.h"
#include "tools/command.h"
#include "tools/node_config.h"
#include "tools/node_json.h"
#include "tools/node_metrics.h"
#include "tools/node_reporter.h"
#include "tools/node_server.h"
#include "tools/published_archive.h"

namespace runnel::tools {
namespace {

struct PublishOptions {
  std::string database;
  std::string bus;
  std::string http;
  std::string exec;
  bool new_lineage = false;
  bool force = false;
  bool durable = false;
};

nlohmann::json StatusOf(const publisher::Node& node, const std::string& name) {
  nlohmann::json databases = nlohmann::json::array();
  for (const publisher::DatabaseSnapshot& snapshot : node.Snapshots()) databases.push_back(ToJson(snapshot));
  return {{"role", "publisher"}, {"node", name}, {"databases", std::move(databases)}};
}

NodeView ViewOf(const publisher::Node& node, const std::string& name) {
  NodeView view;
  view.status = [&node, name] { return StatusOf(node, name); };
  view.readiness = [&node] {
    for (const publisher::DatabaseSnapshot& snapshot : node.Snapshots()) {
      Readiness readiness = ReadinessOf(snapshot);
      if (!readiness.ready) return readiness;
    }
    return Readiness();
  };
  view.positions = [&node] {
    nlohmann::json positions = nlohmann::json::object();
    for (const publisher::DatabaseSnapshot& snapshot : node.Snapshots())
      positions[snapshot.name] = ToString(snapshot.published);
    return positions;
  };
  view.update_metrics = [&node](Metrics& metrics) {
    for (const publisher::DatabaseSnapshot& snapshot : node.Snapshots()) UpdateMetrics(metrics, snapshot);
    UpdateMetrics(metrics, node.BusStatistics());
  };
  return view;
}

std::vector<Reported> ReportedBy(const publisher::Node& node, const publisher::NodeConfig& config) {
  std::vector<Reported> reported;
  for (size_t i = 0; i < config.databases.size(); ++i) {
    const publisher::DatabaseConfig& database = config.databases[i];
    auto status = [&node, i] {
      publisher::DatabaseSnapshot snapshot = node.Snapshots()[i];
      return nlohmann::json{{"state", ToString(snapshot.state)},
                            {"trouble", snapshot.trouble},
                            {"position", ToString(snapshot.published)}};
    };
    std::string path = std::filesystem::absolute(database.path).string();
    reported.push_back({database.bus_url, database.bus, "publisher", config.node_name, path, status});
  }
  return reported;
}

// Runs the application as a child: when it ends, the node drains and ends with its exit code; our stop is passed on to
// it.
class Application {
 public:
  static Result<std::unique_ptr<Application>> Start(const std::string& command, Signals& signals) {
    pid_t pid = ::fork();
    if (pid < 0) return ErrnoError(errno, "start " + command);
    if (pid == 0) {
      RestoreSignalsInChild();
      ::execl("/bin/sh", "sh", "-c", command.c_str(), static_cast<char*>(nullptr));
      ::_exit(127);
    }
    return std::unique_ptr<Application>(new Application(pid, signals));  // private constructor
  }
  ~Application() { Join(); }

  int exit_code() const { return exit_code_; }
  void Join() {
    if (thread_.joinable()) thread_.join();
  }

 private:
  Application(pid_t pid, Signals& signals) : pid_(pid) {
    thread_ = std::thread([this, &signals] {
      std::stop_callback pass_on(signals.stop_token(), [this] { ::kill(pid_, SIGTERM); });
      int status = 0;
      ::waitpid(pid_, &status, 0);
      exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      signals.RequestStop();
    });
  }
  pid_t pid_;
  int exit_code_ = 0;
  std::thread thread_;
};

Result<NodeSettings> SettingsFor(const Context& context, const PublishOptions& options) {
  TRY_ASSIGN(NodeSettings settings, LoadSettings(context.config_file));
  if (!options.database.empty()) {
    if (options.bus.empty()) return Error(Errc::kInvalid, "publish DB needs a BUS too, e.g. nats://127.0.0.1/NAME");
    TRY_ASSIGN(publisher::DatabaseConfig database, DatabaseFor(settings, options.database, options.bus));
    settings.publisher.databases = {std::move(database)};
    std::erase_if(settings.publisher_archives,
                  [&](const archive::ArchiveConfig& archive) { return archive.bus_url != options.bus; });
  }
  if (settings.publisher.databases.empty()) {
    return Error(Errc::kInvalid, "nothing to publish: give DB and BUS, or a configuration file with dbs:");
  }
  for (publisher::DatabaseConfig& database : settings.publisher.databases) {
    database.new_lineage = options.new_lineage;
    database.bus.force = options.force;
    database.bus.client_name = "runnel publish " + database.name;
    if (options.durable) database.durable = true;
    database.await_database = !options.exec.empty();
  }
  if (!options.http.empty()) settings.http = options.http;
  return settings;
}

int Publish(const Context& context, const PublishOptions& options) {
  Result<std::unique_ptr<Signals>> signals = Signals::Install();
  if (!signals.ok()) return Fail(signals.error());
  Result<NodeSettings> settings = SettingsFor(context, options);
  if (!settings.ok()) return Fail(settings.error());
  const auto shared = std::make_shared<bus::Shared>();
  archive::Node archives(settings->publisher_archives, shared);
  const std::vector<std::unique_ptr<PublishedArchive>> connected =
      ConnectArchives(archives, settings->publisher_archives, settings->publisher);
  publisher::Node node(settings->publisher, shared);
  NodeView view = ViewOf(node, settings->publisher.node_name);
  if (!archives.empty()) AddArchives(view, archives, settings->publisher.node_name);
  Result<std::unique_ptr<NodeServer>> server = NodeServer::Start(settings->http, std::move(view));
  if (!server.ok()) return Fail(server.error());
  // Last of all that can fail: an application that was started must not be left alone.
  std::unique_ptr<Application> application;
  if (!options.exec.empty()) {
    Result<std::unique_ptr<Application>> started = Application::Start(options.exec, **signals);
    if (!started.ok()) return Fail(started.error());
    application = std::move(*started);
  }
  // From here on all threads are started that work beside the application; those of the bus libraries too, which cannot
  // be told later.
  publisher::YieldToOthers(true);
  node.Start();
  archives.Start();
  std::vector<Reported> reported = ReportedBy(node, settings->publisher);
  for (Reported& one : ArchivesReportedBy(archives, settings->publisher_archives)) reported.push_back(std::move(one));
  auto reporter = std::make_unique<NodeReporter>(std::move(reported), shared);
  Status ended = node.Wait((*signals)->stop_token());
  // What ended an archiver is in the log; it is no reason for a publisher to fail.
  (void)archives.Stop(settings->publisher.shutdown_timeout).ok();
  reporter.reset();
  server->reset();
  if (application) {
    (*signals)->RequestStop();
    application->Join();
  }
  if (!ended.ok()) return Fail(ended.error());
  if (application) return application->exit_code();
  return (*signals)->signal() == SIGINT ? (*signals)->exit_code() : kExitOk;
}

}  // namespace

void AddPublish(CLI::App& app, Context& context) {
  auto options = std::make_shared<PublishOptions>();
  CLI::App* verb = app.add_subcommand("publish", "Publish the commits of SQLite databases to a bus");
  verb->fallthrough();
  verb->add_option("DB", options->database, "Database file (default: all of the configuration)");
  verb->add_option("BUS", options->bus, "nats://host/NAME, tls://host/NAME or file:///dir/NAME");
  verb->add_option("--http", options->http, "Address of /status and /metrics, or off");
  verb->add_option("--exec", options->exec, "Run this command as a child and end with it");
  verb->add_flag("--new-lineage", options->new_lineage, "Let this database replace the history in the log");
  verb->add_flag("--force", options->force, "Accept a stream with dangerous settings");
  verb->add_flag("--durable", options->durable, "Sync the WAL before publishing (publish: durable)");
  verb->callback([&context, options] { context.run = [&context, options] { return Publish(context, *options); }; });
}

}  // namespace runnel::tools
