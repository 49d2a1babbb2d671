#include "tools/node_config.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <utility>

#include "bus/url.h"
#include "ltx/base/config_reader.h"
#include "ltx/base/log.h"

namespace runnel::tools {
namespace {

using std::chrono::milliseconds;

std::string HostName() {
  char name[256] = "";
  return ::gethostname(name, sizeof name - 1) == 0 ? name : "unknown";
}

bus::OpenOptions ReadBusOptions(const ConfigMap& map, bus::OpenOptions options) {
  ConfigMap credentials = map.Map("credentials");
  if (map.Has("credentials")) {
    options.credentials.user = credentials.Text("user");
    options.credentials.password = credentials.Secret("password");
    options.credentials.token = credentials.Secret("token");
    options.credentials.creds_file = credentials.Text("creds-file");
    options.credentials.nkey_file = credentials.Text("nkey-file");
    options.credentials.tls_ca_file = credentials.Text("tls-ca");
    options.credentials.tls_cert_file = credentials.Text("tls-cert");
    options.credentials.tls_key_file = credentials.Text("tls-key");
  }
  options.replicas = static_cast<uint32_t>(map.Integer("log-replicas", options.replicas, 1, 5));
  options.retention =
      std::chrono::duration_cast<std::chrono::hours>(map.Duration("log-retention", milliseconds(options.retention)));
  options.connect_timeout = map.Duration("connect-timeout", options.connect_timeout);
  return options;
}

publisher::DatabaseConfig ReadDatabase(const ConfigMap& map, publisher::DatabaseConfig config) {
  using publisher::Detect;
  config.bus = ReadBusOptions(map, config.bus);
  config.durable = map.Choice("publish", {{"visible", false}, {"durable", true}}, config.durable);
  config.heartbeat_interval = map.Duration("heartbeat-interval", config.heartbeat_interval);
  config.coalesce_after = map.DurationOrNever("coalesce-after", config.coalesce_after);
  config.backlog_bytes_max = map.Size("backlog-limit", config.backlog_bytes_max);
  config.capture.wal_limit_bytes = map.Size("wal-limit", config.capture.wal_limit_bytes);
  config.capture.detect =
      map.Choice("detect", {{"auto", Detect::kAuto}, {"inotify", Detect::kInotify}, {"poll", Detect::kPoll}},
                 config.capture.detect);
  if (map.Has("checkpoint")) {
    std::string text = map.Text("checkpoint");
    if (text == "never") {
      config.capture.checkpoint_frames = std::nullopt;
    } else if (text != "auto") {
      config.capture.checkpoint_frames = static_cast<uint32_t>(map.Integer("checkpoint", 800, 1, 1000000));
    }
  }
  return config;
}

subscriber::ReplicaConfig ReadReplica(const ConfigMap& map, subscriber::ReplicaConfig config) {
  using replica::SyncMode;
  config.bus = ReadBusOptions(map, config.bus);
  config.replica.sync = map.Choice(
      "sync", {{"off", SyncMode::kOff}, {"normal", SyncMode::kNormal}, {"full", SyncMode::kFull}}, config.replica.sync);
  config.replica.wal_limit_bytes = map.Size("replica-wal-limit", config.replica.wal_limit_bytes);
  config.replica.pause_at_wal_limit =
      map.Choice("at-wal-limit", {{"grow", false}, {"pause", true}}, config.replica.pause_at_wal_limit);
  config.scrub_interval = map.Duration("scrub-interval", config.scrub_interval);
  return config;
}

Status NameFromUrl(const std::string& url, std::string& name) {
  TRY_ASSIGN(bus::Url parsed, bus::ParseUrl(url));
  name = parsed.name;
  return Ok();
}

// Defaults for all databases and replicas stand at the top level; each entry may override them.
struct Defaults {
  publisher::DatabaseConfig database;
  subscriber::ReplicaConfig replica;
};

Status ReadLists(const ConfigMap& root, const Defaults& defaults, NodeSettings& settings) {
  for (const ConfigMap& map : root.Maps("dbs")) {
    publisher::DatabaseConfig database = ReadDatabase(map, defaults.database);
    database.path = map.RequiredText("path");
    database.bus_url = map.RequiredText("bus");
    if (Status parsed = NameFromUrl(database.bus_url, database.name); !parsed.ok())
      map.Refuse("bus", parsed.error().message());
    settings.publisher.databases.push_back(std::move(database));
  }
  for (const ConfigMap& map : root.Maps("replicas")) {
    subscriber::ReplicaConfig replica = ReadReplica(map, defaults.replica);
    replica.bus_url = map.RequiredText("bus");
    replica.replica.path = map.RequiredText("path");
    if (Status parsed = NameFromUrl(replica.bus_url, replica.name); !parsed.ok())
      map.Refuse("bus", parsed.error().message());
    settings.subscriber.replicas.push_back(std::move(replica));
  }
  return Ok();
}

Result<NodeSettings> Read(const std::string& file) {
  NodeSettings settings;
  settings.file = file;
  Result<std::unique_ptr<Config>> loaded = Config::Load(file);
  // Not there is a mistake of the command line here, not a thing to wait for.
  if (!loaded.ok()) return loaded.error().As(Errc::kInvalid);
  std::unique_ptr<Config> config = std::move(*loaded);
  ConfigMap root = config->root();
  settings.http = root.Text("http", settings.http);
  settings.ready_lag = root.Duration("ready-lag", settings.ready_lag);
  std::string node = root.Text("node", HostName());
  settings.publisher.node_name = node;
  settings.subscriber.node_name = node;
  settings.publisher.shutdown_timeout = root.Duration("shutdown-timeout", settings.publisher.shutdown_timeout);
  Defaults defaults;
  ConfigMap shared = root.Map("defaults");
  defaults.database = ReadDatabase(shared, {});
  defaults.replica = ReadReplica(shared, {});
  TRY(ReadLists(root, defaults, settings));
  TRY(config->Finish());
  if (std::optional<std::string> warning = config->SecretsWarning())
    Log(Level::kWarn, "config_readable_by_others", {{"err", *warning}});
  return settings;
}

}  // namespace

Result<NodeSettings> LoadSettings(const std::string& file) {
  if (!file.empty()) return Read(file);
  for (const char* name : {"runnel.yml", "/etc/runnel.yml"}) {
    std::error_code ec;
    if (std::filesystem::exists(name, ec)) return Read(name);
  }
  NodeSettings settings;
  settings.publisher.node_name = HostName();
  settings.subscriber.node_name = settings.publisher.node_name;
  return settings;
}

Result<publisher::DatabaseConfig> DatabaseFor(const NodeSettings& settings, const std::string& path,
                                              const std::string& bus) {
  publisher::DatabaseConfig config;
  for (const publisher::DatabaseConfig& known : settings.publisher.databases) {
    if (known.path == path) config = known;
  }
  config.path = path;
  config.bus_url = bus;
  TRY(NameFromUrl(bus, config.name));
  return config;
}

Result<subscriber::ReplicaConfig> ReplicaFor(const NodeSettings& settings, const std::string& bus,
                                             const std::string& path) {
  subscriber::ReplicaConfig config;
  for (const subscriber::ReplicaConfig& known : settings.subscriber.replicas) {
    if (known.replica.path == path) config = known;
  }
  config.bus_url = bus;
  config.replica.path = path;
  TRY(NameFromUrl(bus, config.name));
  return config;
}

}  // namespace runnel::tools
