// From the configuration file to the settings of the nodes. configs/runnel.yml is the page for people; a test keeps
// both equal.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "publisher/config.h"
#include "subscriber/archive/config.h"
#include "subscriber/config.h"
#include "tools/feed_settings.h"

namespace runnel::tools {

struct NodeSettings {
  std::string file;  // that was read; empty: none
  std::string http = "127.0.0.1:9091";
  std::chrono::milliseconds ready_lag{10000};
  publisher::NodeConfig publisher;
  subscriber::NodeConfig subscriber;
  // Archivers: those of dbs:, which run in the publisher; of replicas:, in the subscriber; of archives:, by themselves.
  std::vector<archive::ArchiveConfig> publisher_archives;
  std::vector<archive::ArchiveConfig> subscriber_archives;
  std::vector<archive::ArchiveConfig> archives;
  std::vector<FeedSettings> feeds;          // of replicas:, in the subscriber
  archive::ArchiveConfig archive_defaults;  // .bus: of every log that no entry names
};

// `file` empty: runnel.yml, then /etc/runnel.yml, and all defaults when neither is there. Errors: kInvalid, with line
// numbers where the file was read.
Result<NodeSettings> LoadSettings(const std::string& file);

// Settings of one database or replica that was named on the command line: the defaults of the file apply.
Result<publisher::DatabaseConfig> DatabaseFor(const NodeSettings& settings, const std::string& path,
                                              const std::string& bus);
Result<subscriber::ReplicaConfig> ReplicaFor(const NodeSettings& settings, const std::string& bus,
                                             const std::string& path);
Result<archive::ArchiveConfig> ArchiveFor(const NodeSettings& settings, const std::string& bus,
                                          const std::string& archive);

// How a bus or an archive is opened that was named on the command line: as the first entry of the file that names it
// says, else by the file's defaults.
bus::OpenOptions BusOptionsFor(const NodeSettings& settings, const std::string& bus);
store::StoreOptions StoreOptionsFor(const NodeSettings& settings, const std::string& archive);

}  // namespace runnel::tools
