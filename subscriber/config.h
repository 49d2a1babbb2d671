// Settings of a subscriber node; configs/runnel.yml explains each key for people.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "bus/open.h"
#include "subscriber/archive/store/open.h"
#include "subscriber/replica/replica.h"

namespace runnel::subscriber {

struct ReplicaConfig {
  std::string bus_url;
  std::string name;  // of the log; from the URL
  bus::OpenOptions bus;
  replica::ReplicaOptions replica;
  // Where the log is archived; empty: nowhere. New replicas begin with its newest image, and replicas that the log has
  // left behind are brought back by it.
  std::string archive_url;
  store::StoreOptions store;
  bool replace = false;  // --force: a file that is not our replica may be overwritten by the bootstrap
  std::chrono::milliseconds scrub_interval{1000};  // between two steps of the background scrub; 0 = off
  uint32_t scrub_pages = 64;                       // per step
  std::chrono::milliseconds ready_lag{10000};
};

struct NodeConfig {
  std::string node_name;
  std::vector<ReplicaConfig> replicas;
};

}  // namespace runnel::subscriber
