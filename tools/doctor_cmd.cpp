// runnel doctor: looks at this machine, the configuration, the databases, replicas and buses, and says what to change.
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bus/open.h"
#include "ltx/sqlite/live/live_db.h"
#include "publisher/log_head.h"
#include "subscriber/archive/catalog.h"
#include "subscriber/archive/layout.h"
#include "subscriber/archive/store/open.h"
#include "subscriber/archive/store/url.h"
#include "tools/command.h"
#include "tools/node_config.h"
#include "tools/version.h"

namespace runnel::tools {
namespace {

enum class Verdict { kGood, kAdvice, kBad };

struct Finding {
  Verdict verdict;
  std::string what;
  std::string detail;  // what was found, and what to do
};

const char* Word(Verdict verdict) {
  switch (verdict) {
    case Verdict::kGood: return "ok";
    case Verdict::kAdvice: return "advice";
    case Verdict::kBad: return "problem";
  }
  return "";
}

void CheckMachine(std::vector<Finding>& findings) {
  findings.push_back({Verdict::kGood, "sqlite", "library " + sqlite::SqliteVersion()});
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  bool few = files.rlim_cur < 1024;
  findings.push_back(
      {few ? Verdict::kAdvice : Verdict::kGood, "open files",
       "limit " + std::to_string(files.rlim_cur) + (few ? "; each database needs 8, raise it with ulimit -n" : "")});
  std::ifstream watches_file("/proc/sys/fs/inotify/max_user_watches");
  long watches = 0;
  watches_file >> watches;
  findings.push_back({watches < 512 ? Verdict::kAdvice : Verdict::kGood, "inotify watches",
                      "limit " + std::to_string(watches) +
                          (watches < 512 ? "; each database needs 2, raise fs.inotify.max_user_watches" : "")});
}

void CheckDatabase(const std::string& path, std::vector<Finding>& findings) {
  Result<std::unique_ptr<sqlite::LiveDb>> live = sqlite::LiveDb::Open({.path = path});
  if (!live.ok()) {
    findings.push_back({Verdict::kBad, path, live.error().message()});
    return;
  }
  findings.push_back(
      {Verdict::kGood, path, "a WAL database with pages of " + std::to_string((*live)->page_size()) + " bytes"});
  std::string directory = std::filesystem::absolute(path).parent_path().string();
  if (::access(directory.c_str(), W_OK) != 0) {
    findings.push_back({Verdict::kBad, directory,
                        "is not writable for this user; the state directory " + path + "-runnel goes there"});
  }
}

void CheckBus(const std::string& url, bus::OpenOptions options, std::vector<Finding>& findings) {
  options.force = true;
  std::string name = bus::RedactUrl(url);
  Result<std::unique_ptr<bus::Log>> log = bus::OpenLog(url, options);
  Result<bus::LogInfo> info = log.ok() ? (*log)->Info() : Result<bus::LogInfo>(log.error());
  if (!info.ok()) {
    bool absent = info.code() == Errc::kNotFound;
    findings.push_back({absent ? Verdict::kAdvice : Verdict::kBad, name,
                        info.error().message() + (absent ? "; runnel publish makes it" : "")});
    return;
  }
  findings.push_back({Verdict::kGood, name, info->location + ", " + std::to_string(info->message_count) + " messages"});
  for (const std::string& danger : info->dangers) findings.push_back({Verdict::kBad, name, danger});
  Result<publisher::LogHead> head = publisher::ReadLogHead(**log);
  if (!head.ok()) findings.push_back({Verdict::kBad, name, head.error().message()});
}

// Whether an archiver could do all it does: put, put if absent, read, list, delete. Nothing stays.
Status TryStore(store::ObjectStore& store) {
  const std::string key = "doctor-" + bus::ToString(bus::Lineage::Random());
  const std::string text = "runnel doctor was here";
  Result<std::string> put = store.PutIfAbsent(key, AsBytes(text));
  if (!put.ok()) return put.error().With("cannot write");
  Status tried = Ok();
  Result<std::string> read = store.GetAll(key, 1024);
  Result<store::ListPage> listed = store.List({.prefix = key});
  if (store.PutIfAbsent(key, AsBytes(text)).code() != Errc::kConflict) {
    tried = Error(Errc::kInvalid,
                  "the store ignores the condition \"only if absent\": two archivers could harm each other");
  }
  if (!read.ok()) tried = read.error().With("cannot read");
  if (!listed.ok()) tried = listed.error().With("cannot list");
  Status removed = store.Delete(key);
  if (!removed.ok()) return removed.error().With("cannot delete");
  return tried;
}

void CheckArchive(const archive::ArchiveConfig& config, std::vector<Finding>& findings) {
  const std::string name = store::RedactUrl(config.archive_url);
  store::StoreOptions options = config.store;
  options.attempts_max = 3;
  Result<std::unique_ptr<store::ObjectStore>> opened = store::OpenStore(config.archive_url, options);
  Result<archive::Layout> layout = archive::Layout::ForUrl(config.archive_url);
  if (!opened.ok() || !layout.ok()) {
    findings.push_back({Verdict::kBad, name, opened.ok() ? layout.error().message() : opened.error().message()});
    return;
  }
  Result<archive::LoadedManifest> loaded = archive::LoadManifest(**opened, *layout);
  const bool absent = !loaded.ok() && loaded.code() == Errc::kNotFound;
  if (!loaded.ok() && !absent) {
    findings.push_back({Verdict::kBad, name, loaded.error().message()});
    return;
  }
  if (absent) {
    findings.push_back({Verdict::kAdvice, name, "no archive there yet; runnel archive begins it"});
  } else if (loaded->manifest.database != config.name) {
    findings.push_back({Verdict::kBad, name,
                        "is the archive of \"" + loaded->manifest.database + "\", not of \"" + config.name +
                            "\"; give another directory, bucket or prefix"});
  } else {
    findings.push_back({Verdict::kGood, name,
                        "archived up to " + ToString(loaded->manifest.position) + ", " +
                            std::to_string(loaded->manifest.objects.size()) + " objects"});
  }
  // A directory or a NATS bucket would be made by the first put: that is for the archiver.
  if (absent && !config.archive_url.starts_with("s3:")) return;
  Status tried = TryStore(**opened);
  findings.push_back({tried.ok() ? Verdict::kGood : Verdict::kBad, name,
                      tried.ok() ? "can be written, read, listed and deleted from" : tried.error().message()});
}

int Doctor(const Context& context) {
  std::vector<Finding> findings;
  CheckMachine(findings);
  Result<NodeSettings> settings = LoadSettings(context.config_file);
  if (!settings.ok()) {
    findings.push_back({Verdict::kBad, "configuration", settings.error().message()});
  } else {
    findings.push_back(
        {Verdict::kGood, "configuration", settings->file.empty() ? "none, all defaults" : settings->file});
    for (const publisher::DatabaseConfig& database : settings->publisher.databases) {
      CheckDatabase(database.path, findings);
      CheckBus(database.bus_url, database.bus, findings);
    }
    for (const subscriber::ReplicaConfig& replica : settings->subscriber.replicas) {
      CheckBus(replica.bus_url, replica.bus, findings);
    }
    for (const auto* list : {&settings->archives, &settings->publisher_archives, &settings->subscriber_archives}) {
      for (const archive::ArchiveConfig& archive : *list) CheckArchive(archive, findings);
    }
    for (const archive::ArchiveConfig& archive : settings->archives) CheckBus(archive.bus_url, archive.bus, findings);
  }
  int problems = 0;
  nlohmann::json json = nlohmann::json::array();
  for (const Finding& finding : findings) {
    problems += finding.verdict == Verdict::kBad ? 1 : 0;
    json.push_back({{"verdict", Word(finding.verdict)}, {"what", finding.what}, {"detail", finding.detail}});
    if (!context.json)
      std::printf("%-8s %s: %s\n", Word(finding.verdict), finding.what.c_str(), finding.detail.c_str());
  }
  if (context.json) {
    std::printf("%s\n", json.dump(2).c_str());
  } else if (problems == 0) {
    std::printf("nothing stands in the way\n");
  } else {
    std::printf("%d problem%s to solve\n", problems, problems == 1 ? "" : "s");
  }
  return problems == 0 ? kExitOk : kExitFailed;
}

}  // namespace

void AddDoctor(CLI::App& app, Context& context) {
  CLI::App* verb =
      app.add_subcommand("doctor", "Check this machine, the configuration, databases and buses; say what to change");
  verb->fallthrough();
  verb->callback([&context] { context.run = [&context] { return Doctor(context); }; });
}

}  // namespace runnel::tools
