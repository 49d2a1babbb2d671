// Settings of a publisher node; configs/runnel.yml explains each key for people.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bus/open.h"
#include "publisher/capture.h"
#include "publisher/image_archive.h"

namespace runnel::publisher {

struct DatabaseConfig {
  std::string path;
  std::string bus_url;
  std::string name;  // of the log; from the URL
  bus::OpenOptions bus;
  CaptureOptions capture;
  bool new_lineage = false;
  // The application is only now being started (--exec): wait for a database that is not there or not in WAL mode yet.
  bool await_database = false;
  bool durable = false;  // publish: durable
  std::chrono::milliseconds heartbeat_interval{10000};
  std::optional<std::chrono::milliseconds> coalesce_after{1000};  // nullopt: never
  uint64_t backlog_bytes_max = uint64_t{10} << 30;
  // Of this log; null: none, or one that subscribers may be unable to reach. LIFETIME: must outlive the publisher.
  ImageArchive* archive = nullptr;
};

struct NodeConfig {
  std::string node_name;  // shown to people; default: host name
  std::vector<DatabaseConfig> databases;
  std::chrono::milliseconds shutdown_timeout{30000};
};

}  // namespace runnel::publisher
