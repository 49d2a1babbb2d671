// What a person says about one feed, on the command line or in the configuration, and what it becomes.
#pragma once

#include <string>
#include <vector>

#include "bus/open.h"
#include "ltx/base/result.h"
#include "subscriber/feed_runner.h"

namespace runnel::tools {

struct FeedSettings {
  std::string bus_url;
  std::string database;  // name of the log
  bus::OpenOptions bus;
  std::string archive;  // URL; empty: none
  store::StoreOptions store;
  std::string state;  // directory
  std::string from;
  bool from_only_new = false;  // a configuration is read at each start, and its `from` means the first one
  std::vector<std::string> tables;
  std::vector<std::string> exclude;
  std::string format = "debezium";
  bool schemas = false;
  std::string to = "stdout";
  std::string name;
  uint64_t value_bytes_max = 0;
  bool once = false;
};

// Errors: kInvalid, naming what is wrong.
Result<subscriber::FeedConfig> FeedConfigFor(const FeedSettings& settings);

}  // namespace runnel::tools
