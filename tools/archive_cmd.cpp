// runnel archive [BUS ARCHIVE] and runnel snapshot BUS ARCHIVE: the archiver without a replica, and one snapshot now.
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "ltx/base/progress.h"
#include "ltx/base/signals.h"
#include "ltx/base/time.h"
#include "subscriber/archive/archiver.h"
#include "subscriber/archive/node.h"
#include "tools/archive_view.h"
#include "tools/command.h"
#include "tools/node_config.h"
#include "tools/node_reporter.h"
#include "tools/node_server.h"

namespace runnel::tools {
namespace {

struct ArchiveOptions {
  std::string bus;
  std::string archive;
  std::string http;
  bool once = false;
  bool force = false;
};

Result<NodeSettings> SettingsFor(const Context& context, const ArchiveOptions& options) {
  TRY_ASSIGN(NodeSettings settings, LoadSettings(context.config_file));
  if (!options.bus.empty()) {
    if (options.archive.empty()) {
      return Error(Errc::kInvalid, "archive BUS needs an ARCHIVE too, e.g. file:///var/archive or s3://bucket/prefix");
    }
    TRY_ASSIGN(archive::ArchiveConfig config, ArchiveFor(settings, options.bus, options.archive));
    settings.archives = {std::move(config)};
  }
  if (settings.archives.empty()) {
    return Error(Errc::kInvalid, "nothing to archive: give BUS and ARCHIVE, or a configuration file with archives:");
  }
  for (archive::ArchiveConfig& config : settings.archives) {
    config.bus.force = options.force;
    config.bus.client_name = "runnel archive " + config.name;
  }
  if (!options.http.empty()) settings.http = options.http;
  return settings;
}

// All archives, one after the other, up to what their logs hold now.
int ArchiveOnce(const Context& context, const NodeSettings& settings, archive::Archiver::OnceOptions options,
                std::stop_token stop) {
  nlohmann::json all = nlohmann::json::array();
  int code = kExitOk;
  for (const archive::ArchiveConfig& config : settings.archives) {
    archive::Archiver archiver(config);
    std::optional<Progress> progress;
    options.on_job = [&](const archive::Worker::Progress& at) {
      if (at.total == 0) return;
      if (!progress) progress.emplace("merge", ProgressUnit::kBytes, at.total);
      progress->SetTotal(at.total);
      progress->Set(at.bytes);
    };
    std::stop_callback abort(stop, [&archiver] { archiver.Abort(); });
    Status done = archiver.Once(options, stop);
    progress.reset();
    if (!done.ok()) {
      code = Fail(done.error());
      continue;
    }
    const archive::ArchiverSnapshot snapshot = archiver.Snapshot();
    all.push_back(ToJson(snapshot));
    if (context.json) continue;
    std::printf("%s: archived up to %s, newest snapshot %s\n", snapshot.archive.c_str(),
                ToString(snapshot.archived).c_str(), ToString(snapshot.snapshot).c_str());
  }
  if (context.json && !all.empty()) std::printf("%s\n", (all.size() == 1 ? all[0] : all).dump(2).c_str());
  return code;
}

int Archive(const Context& context, const ArchiveOptions& options) {
  Result<std::unique_ptr<Signals>> signals = Signals::Install();
  if (!signals.ok()) return Fail(signals.error());
  Result<NodeSettings> settings = SettingsFor(context, options);
  if (!settings.ok()) return Fail(settings.error());
  if (options.once) return ArchiveOnce(context, *settings, {}, (*signals)->stop_token());
  const auto shared = std::make_shared<bus::Shared>();
  archive::Node node(settings->archives, shared);
  NodeView view;
  AddArchives(view, node, settings->archive_defaults.node_name);
  Result<std::unique_ptr<NodeServer>> server = NodeServer::Start(settings->http, std::move(view));
  if (!server.ok()) return Fail(server.error());
  node.Start();
  auto reporter = std::make_unique<NodeReporter>(ArchivesReportedBy(node, settings->archives), shared);
  Status ended = node.Wait((*signals)->stop_token(), settings->publisher.shutdown_timeout);
  reporter.reset();
  server->reset();
  if (!ended.ok()) return Fail(ended.error());
  return (*signals)->signal() == SIGINT ? (*signals)->exit_code() : kExitOk;
}

int TakeSnapshot(const Context& context, const ArchiveOptions& options) {
  Result<std::unique_ptr<Signals>> signals = Signals::Install();
  if (!signals.ok()) return Fail(signals.error());
  Result<NodeSettings> settings = SettingsFor(context, options);
  if (!settings.ok()) return Fail(settings.error());
  archive::Archiver::OnceOptions once;
  once.snapshot = true;
  once.steal_lease = true;  // an archiver that runs there waits meanwhile, and goes on afterwards
  return ArchiveOnce(context, *settings, once, (*signals)->stop_token());
}

void AddWhere(CLI::App* verb, ArchiveOptions& options) {
  verb->fallthrough();
  verb->add_option("BUS", options.bus, "nats://host/NAME, tls://host/NAME, kafka://host/NAME or file:///dir/NAME");
  verb->add_option("ARCHIVE", options.archive, "file:///dir, s3://bucket[/prefix] or nats://host/BUCKET");
  verb->add_flag("--force", options.force, "Accept a stream with dangerous settings");
}

}  // namespace

void AddArchive(CLI::App& app, Context& context) {
  auto options = std::make_shared<ArchiveOptions>();
  CLI::App* verb = app.add_subcommand("archive", "Archive a log in an object store");
  AddWhere(verb, *options);
  verb->add_option("--http", options->http, "Address of /status and /metrics, or off");
  verb->add_flag("--once", options->once, "Archive what the log holds now, do what is due, and end");
  verb->callback([&context, options] { context.run = [&context, options] { return Archive(context, *options); }; });
}

void AddSnapshot(CLI::App& app, Context& context) {
  auto options = std::make_shared<ArchiveOptions>();
  CLI::App* verb = app.add_subcommand("snapshot", "Archive what the log holds now, and a snapshot of it");
  AddWhere(verb, *options);
  verb->callback(
      [&context, options] { context.run = [&context, options] { return TakeSnapshot(context, *options); }; });
}

}  // namespace runnel::tools
