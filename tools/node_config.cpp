#include "tools/node_config.h"

#include <unistd.h>

#include <filesystem>
#include <memory>
#include <utility>

#include "bus/url.h"
#include "ltx/base/config_reader.h"
#include "ltx/base/log.h"
#include "ltx/base/units.h"
#include "subscriber/archive/store/url.h"

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
  const milliseconds retention = map.Duration("log-retention", milliseconds(options.retention));
  options.retention = std::chrono::duration_cast<std::chrono::hours>(retention);
  // Cut to hours, 30m would be 0h: for ever.
  if (options.retention != retention) map.Refuse("log-retention", "is not in whole hours (1h, 7d, or 0h: no age)");
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

// `feed:` of a replica.
void AddFeed(const ConfigMap& map, const subscriber::ReplicaConfig& replica, std::vector<FeedSettings>& feeds) {
  if (!map.Has("feed")) return;
  ConfigMap section = map.Map("feed");
  FeedSettings feed;
  feed.bus_url = replica.bus_url;
  feed.database = replica.name;
  feed.bus = replica.bus;
  feed.archive = replica.archive_url;
  feed.store = replica.store;
  feed.to = section.RequiredText("to");
  feed.state = section.Text("state", replica.replica.path + "-runnel/feed");
  feed.from = section.Text("from");
  feed.from_only_new = true;
  feed.tables = section.Texts("tables");
  feed.exclude = section.Texts("exclude");
  feed.format = section.Text("format", feed.format);
  feed.schemas = section.Bool("schemas", false);
  feed.name = section.Text("name");
  feed.value_bytes_max = section.Size("max-value", 0);
  feeds.push_back(std::move(feed));
}

store::StoreCredentials ReadStoreCredentials(const ConfigMap& map, store::StoreCredentials credentials) {
  if (!map.Has("archive-credentials")) return credentials;
  ConfigMap section = map.Map("archive-credentials");
  credentials.access_key_id = section.Text("access-key-id");
  credentials.secret_access_key = section.Secret("secret-access-key");
  credentials.session_token = section.Secret("session-token");
  credentials.credentials_file = section.Text("credentials-file");
  credentials.user = section.Text("user");
  credentials.password = section.Secret("password");
  credentials.token = section.Secret("token");
  credentials.creds_file = section.Text("creds-file");
  credentials.nkey_file = section.Text("nkey-file");
  credentials.tls_ca_file = section.Text("tls-ca");
  credentials.tls_cert_file = section.Text("tls-cert");
  credentials.tls_key_file = section.Text("tls-key");
  return credentials;
}

archive::ArchiveConfig ReadArchive(const ConfigMap& map, archive::ArchiveConfig config) {
  config.store.credentials = ReadStoreCredentials(map, config.store.credentials);
  config.segment_interval = map.Duration("segment-interval", config.segment_interval);
  config.snapshot_interval = map.Duration("snapshot-interval", config.snapshot_interval);
  config.retention = map.Duration("retention", config.retention);
  // Its default follows retention, where that is set and it is not.
  config.segment_retention =
      map.Duration("segment-retention", map.Has("retention") ? config.retention : config.segment_retention);
  config.trim = map.Bool("trim-log", config.trim);
  const std::vector<std::string> levels = map.Texts("levels");
  if (levels.empty()) return config;
  if (levels.size() != config.level_intervals.size()) {
    map.Refuse("levels", "wants three durations, of levels 1, 2 and 3");
    return config;
  }
  milliseconds before(0);
  for (size_t i = 0; i < levels.size(); ++i) {
    Result<milliseconds> interval = ParseDuration(levels[i]);
    if (!interval.ok()) {
      map.Refuse("levels", interval.error().message());
    } else if (*interval <= before) {
      map.Refuse("levels", "each level has to be longer than the one before it, and than 0");
    } else {
      before = config.level_intervals[i] = *interval;
    }
  }
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
  archive::ArchiveConfig archive;
};

// The archiver of an entry that has `archive:`, with the bus and the settings of its entry.
void AddArchive(const ConfigMap& map, const archive::ArchiveConfig& defaults, const std::string& bus_url,
                const bus::OpenOptions& bus, std::vector<archive::ArchiveConfig>& archives) {
  archive::ArchiveConfig config = ReadArchive(map, defaults);
  if (!map.Has("archive")) return;
  config.archive_url = map.RequiredText("archive");
  config.bus_url = bus_url;
  config.bus = bus;
  if (Result<store::Url> parsed = store::ParseUrl(config.archive_url); !parsed.ok()) {
    map.Refuse("archive", parsed.error().message());
  }
  Result<bus::Url> log = bus::ParseUrl(bus_url);
  if (log.ok()) config.name = log->name;  // else it has been refused as the bus
  archives.push_back(std::move(config));
}

Status ReadLists(const ConfigMap& root, const Defaults& defaults, NodeSettings& settings) {
  for (const ConfigMap& map : root.Maps("dbs")) {
    publisher::DatabaseConfig database = ReadDatabase(map, defaults.database);
    database.path = map.RequiredText("path");
    database.bus_url = map.RequiredText("bus");
    if (Status parsed = NameFromUrl(database.bus_url, database.name); !parsed.ok())
      map.Refuse("bus", parsed.error().message());
    AddArchive(map, defaults.archive, database.bus_url, database.bus, settings.publisher_archives);
    settings.publisher.databases.push_back(std::move(database));
  }
  for (const ConfigMap& map : root.Maps("replicas")) {
    subscriber::ReplicaConfig replica = ReadReplica(map, defaults.replica);
    replica.bus_url = map.RequiredText("bus");
    replica.replica.path = map.RequiredText("path");
    if (Status parsed = NameFromUrl(replica.bus_url, replica.name); !parsed.ok())
      map.Refuse("bus", parsed.error().message());
    AddArchive(map, defaults.archive, replica.bus_url, replica.bus, settings.subscriber_archives);
    if (map.Has("archive")) replica.archive_url = settings.subscriber_archives.back().archive_url;
    // Also for an archive that only the log names.
    replica.store = ReadArchive(map, defaults.archive).store;
    AddFeed(map, replica, settings.feeds);
    settings.subscriber.replicas.push_back(std::move(replica));
  }
  for (const ConfigMap& map : root.Maps("archives")) {
    std::string name;
    const std::string bus_url = map.RequiredText("bus");
    map.RequiredText("archive");
    if (Status parsed = NameFromUrl(bus_url, name); !parsed.ok()) map.Refuse("bus", parsed.error().message());
    AddArchive(map, defaults.archive, bus_url, ReadBusOptions(map, defaults.archive.bus), settings.archives);
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
  defaults.archive = ReadArchive(shared, {});
  defaults.archive.bus = defaults.replica.bus;
  defaults.archive.node_name = node;
  settings.archive_defaults = defaults.archive;
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
  settings.archive_defaults.node_name = settings.publisher.node_name;
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
  config.store = settings.archive_defaults.store;
  for (const subscriber::ReplicaConfig& known : settings.subscriber.replicas) {
    if (known.replica.path == path) config = known;
  }
  config.bus_url = bus;
  config.replica.path = path;
  TRY(NameFromUrl(bus, config.name));
  return config;
}

bus::OpenOptions BusOptionsFor(const NodeSettings& settings, const std::string& bus) {
  for (const publisher::DatabaseConfig& known : settings.publisher.databases) {
    if (known.bus_url == bus) return known.bus;
  }
  for (const subscriber::ReplicaConfig& known : settings.subscriber.replicas) {
    if (known.bus_url == bus) return known.bus;
  }
  for (const archive::ArchiveConfig& known : settings.archives) {
    if (known.bus_url == bus) return known.bus;
  }
  return settings.archive_defaults.bus;
}

store::StoreOptions StoreOptionsFor(const NodeSettings& settings, const std::string& archive) {
  for (const auto* list : {&settings.archives, &settings.publisher_archives, &settings.subscriber_archives}) {
    for (const archive::ArchiveConfig& known : *list) {
      if (known.archive_url == archive) return known.store;
    }
  }
  return settings.archive_defaults.store;
}

Result<archive::ArchiveConfig> ArchiveFor(const NodeSettings& settings, const std::string& bus,
                                          const std::string& archive) {
  archive::ArchiveConfig config = settings.archive_defaults;
  for (const auto* list : {&settings.archives, &settings.publisher_archives, &settings.subscriber_archives}) {
    for (const archive::ArchiveConfig& known : *list) {
      if (known.archive_url == archive) config = known;
    }
  }
  config.bus_url = bus;
  config.archive_url = archive;
  TRY(store::ParseUrl(archive));
  TRY(NameFromUrl(bus, config.name));
  return config;
}

}  // namespace runnel::tools
