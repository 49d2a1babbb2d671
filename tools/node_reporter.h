// Leaves a note about each database or replica of this node beside its log, now and then and at the end, so that
// `runnel status` on any machine shows every node, also those that are away. Runs beside the work: a bus that is slow
// or gone costs nothing.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include <nlohmann/json.hpp>

#include "bus/open.h"
#include "bus/shared.h"
#include "ltx/base/result.h"

namespace runnel::tools {

struct Reported {
  std::string bus_url;
  bus::OpenOptions bus;
  std::string role;  // "publisher", "subscriber"
  std::string node;
  std::string path;
  std::function<nlohmann::json()> status;  // with "state", "trouble", "position"; called from the reporter's thread
};

class NodeReporter {
 public:
  // LIFETIME: what the status functions use must outlive the reporter. `shared`: what this process has in common with
  // its buses.
  NodeReporter(std::vector<Reported> reported, const std::shared_ptr<bus::Shared>& shared);
  // Reports once more.
  ~NodeReporter();

 private:
  struct Target;
  void Run(std::stop_token stop);
  void ReportAll();

  std::vector<std::unique_ptr<Target>> targets_;
  std::jthread thread_;
};

}  // namespace runnel::tools
