// runnel status [BUS]: the log and every node that ever reported about it.
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bus/open.h"
#include "ltx/base/time.h"
#include "ltx/base/units.h"
#include "publisher/log_head.h"
#include "tools/command.h"
#include "tools/node_config.h"

namespace runnel::tools {
namespace {

// A node that has not reported for three intervals is shown as gone.
constexpr std::chrono::seconds kReportedLately{35};

Result<nlohmann::json> StatusOf(const std::string& url, const bus::OpenOptions& options) {
  TRY_ASSIGN(std::unique_ptr<bus::Log> log, bus::OpenLog(url, options));
  TRY_ASSIGN(bus::LogInfo info, log->Info());
  TRY_ASSIGN(publisher::LogHead head, publisher::ReadLogHead(*log));
  nlohmann::json json = {{"bus", bus::RedactUrl(url)},
                         {"log",
                          {{"adapter", info.adapter},
                           {"location", info.location},
                           {"first_seq", info.first_seq.raw()},
                           {"last_seq", info.last_seq.raw()},
                           {"messages", info.message_count},
                           {"bytes", info.bytes},
                           {"dangers", info.dangers},
                           {"lineage", head.empty ? "" : bus::ToString(head.lineage)},
                           {"epoch", head.epoch.raw()},
                           {"position", ToString(head.position)}}}};
  json["nodes"] = nlohmann::json::array();
  Result<std::vector<bus::Note>> notes = log->Notes();
  if (!notes.ok() && notes.code() != Errc::kUnsupported) return notes.error();
  if (!notes.ok()) return json;
  WallTime now = SystemClock().Wall();
  for (const bus::Note& note : *notes) {
    nlohmann::json node = nlohmann::json::parse(note.text, nullptr, false);
    if (node.is_discarded() || !node.is_object()) continue;
    double age_s = std::chrono::duration<double>(now - note.stored_at).count();
    node["reported_s_ago"] = age_s;
    node["connected"] =
        std::chrono::duration<double>(kReportedLately).count() > age_s && node.value("state", "") != "stopped";
    if (std::optional<Position> at = ParsePosition(node.value("position", ""))) {
      node["lag_commits"] = head.position.txid > at->txid ? head.position.txid.raw() - at->txid.raw() : 0;
    }
    json["nodes"].push_back(std::move(node));
  }
  return json;
}

void Print(const nlohmann::json& json) {
  const nlohmann::json& log = json["log"];
  std::printf("%s  (%s)\n", json["bus"].get<std::string>().c_str(), log["location"].get<std::string>().c_str());
  std::printf("  log         %s  epoch %lu  %lu messages, %s\n", log["position"].get<std::string>().c_str(),
              log["epoch"].get<uint64_t>(), log["messages"].get<uint64_t>(),
              FormatBytes(log["bytes"].get<uint64_t>()).c_str());
  for (const auto& danger : log["dangers"]) std::printf("  danger      %s\n", danger.get<std::string>().c_str());
  if (json["nodes"].empty()) std::printf("  no node has reported yet\n");
  for (const auto& node : json["nodes"]) {
    std::printf("  %-10s  %s  lag %lu  %s%s  %s\n", node.value("role", "?").c_str(), node.value("position", "").c_str(),
                node.value("lag_commits", uint64_t{0}), node.value("state", "").c_str(),
                node.value("connected", false) ? "" : ", not connected", node.value("path", "").c_str());
    if (!node.value("trouble", "").empty()) std::printf("              %s\n", node.value("trouble", "").c_str());
  }
}

std::vector<std::pair<std::string, bus::OpenOptions>> BusesOf(const NodeSettings& settings, const std::string& url) {
  std::vector<std::pair<std::string, bus::OpenOptions>> buses;
  auto add = [&](const std::string& one, const bus::OpenOptions& options) {
    for (const auto& known : buses) {
      if (known.first == one) return;
    }
    if (url.empty() || url == one) buses.emplace_back(one, options);
  };
  for (const publisher::DatabaseConfig& database : settings.publisher.databases) add(database.bus_url, database.bus);
  for (const subscriber::ReplicaConfig& replica : settings.subscriber.replicas) add(replica.bus_url, replica.bus);
  for (const auto* list : {&settings.archives, &settings.publisher_archives, &settings.subscriber_archives}) {
    for (const archive::ArchiveConfig& archive : *list) add(archive.bus_url, archive.bus);
  }
  if (!url.empty() && buses.empty()) buses.emplace_back(url, bus::OpenOptions());
  return buses;
}

int ShowStatus(const Context& context, const std::string& url) {
  Result<NodeSettings> settings = LoadSettings(context.config_file);
  if (!settings.ok()) return Fail(settings.error());
  auto buses = BusesOf(*settings, url);
  if (buses.empty())
    return Fail(Error(Errc::kInvalid, "no bus: give BUS, or a configuration file with dbs:, replicas: or archives:"));
  nlohmann::json all = nlohmann::json::array();
  int code = kExitOk;
  for (auto& [one, options] : buses) {
    options.force = true;  // a dangerous stream is shown, not refused
    Result<nlohmann::json> status = StatusOf(one, options);
    if (!status.ok()) {
      code = Fail(status.error());
      continue;
    }
    if (!context.json) Print(*status);
    all.push_back(std::move(*status));
  }
  if (context.json) std::printf("%s\n", (buses.size() == 1 && !all.empty() ? all[0] : all).dump(2).c_str());
  return code;
}

}  // namespace

void AddStatus(CLI::App& app, Context& context) {
  auto url = std::make_shared<std::string>();
  CLI::App* verb = app.add_subcommand("status", "Show a log, its publisher and all replicas ever seen");
  verb->fallthrough();
  verb->add_option("BUS", *url, "Bus URL (default: all of the configuration)");
  verb->callback([&context, url] { context.run = [&context, url] { return ShowStatus(context, *url); }; });
}

}  // namespace runnel::tools
