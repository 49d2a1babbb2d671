#include "tools/node_reporter.h"

#include <fmt/format.h>

#include "ltx/base/bytes.h"
#include "ltx/base/log.h"
#include "ltx/base/time.h"
#include "ltx/format/checksum.h"

namespace runnel::tools {
namespace {

constexpr std::chrono::seconds kInterval{10};
constexpr std::chrono::seconds kFirstAfter{1};

}  // namespace

struct NodeReporter::Target {
  Reported reported;
  std::unique_ptr<bus::Log> log;
  bool unsupported = false;

  // The same for the same node and file, whatever its process.
  std::string Key() const {
    ltx::Crc64 crc;
    crc.Update(AsBytes(reported.node + "\n" + reported.path));
    return fmt::format("{}-{:016x}", reported.role, crc.value());
  }

  Status Report() {
    if (unsupported) return Ok();
    if (log == nullptr) {
      bus::OpenOptions options = reported.bus;
      options.client_name = "runnel notes";
      TRY_ASSIGN(log, bus::OpenLog(reported.bus_url, options));
    }
    nlohmann::json json = reported.status();
    json["role"] = reported.role;
    json["node"] = reported.node;
    json["path"] = reported.path;
    Status put = log->PutNote({Key(), SystemClock().Wall(), json.dump()});
    unsupported = !put.ok() && put.code() == Errc::kUnsupported;
    return put;
  }
};

NodeReporter::NodeReporter(std::vector<Reported> reported, const std::shared_ptr<bus::Shared>& shared) {
  for (Reported& one : reported) {
    targets_.push_back(std::make_unique<Target>());
    targets_.back()->reported = std::move(one);
    targets_.back()->reported.bus.shared = shared;
  }
  thread_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

NodeReporter::~NodeReporter() {
  thread_.request_stop();
  thread_.join();
}

void NodeReporter::Run(std::stop_token stop) {
  std::chrono::seconds wait = kFirstAfter;
  while (SleepUntil(DeadlineIn(wait), stop).ok()) {
    ReportAll();
    wait = kInterval;
  }
  ReportAll();
}

void NodeReporter::ReportAll() {
  for (std::unique_ptr<Target>& target : targets_) {
    Status reported = target->Report();
    if (!reported.ok()) Log(Level::kDebug, "note_not_left", {{"err", reported.error().message()}});
  }
}

}  // namespace runnel::tools
