// Settings of an archiver; configs/runnel.yml explains each key for people.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <string>

#include "bus/open.h"
#include "subscriber/archive/store/open.h"

namespace runnel::archive {

struct ArchiveConfig {
  std::string bus_url;
  std::string name;  // of the log; from the URL
  std::string archive_url;
  std::string node_name;
  bus::OpenOptions bus;
  store::StoreOptions store;
  // Commits are archived this long after they came, or earlier when 8 MiB of them are waiting.
  std::chrono::milliseconds segment_interval{10'000};
  // Of level 1, 2, 3.
  std::array<std::chrono::milliseconds, 3> level_intervals{std::chrono::seconds(30), std::chrono::minutes(5),
                                                           std::chrono::hours(1)};
  std::chrono::milliseconds snapshot_interval{std::chrono::hours(24)};
  std::chrono::milliseconds retention{std::chrono::hours(720)};
  std::chrono::milliseconds segment_retention{std::chrono::hours(720)};
  // How long another archiver is taken for alive that does not say so.
  std::chrono::milliseconds lease_ttl{60'000};
  // Messages that are archived and older than bus.retention are removed from the log.
  bool trim = true;
};

}  // namespace runnel::archive
