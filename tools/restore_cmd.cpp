// runnel restore SOURCE... -o FILE [--txid T | --timestamp RFC3339]: a database file as it was.
#include <csignal>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bus/open.h"
#include "bus/url.h"
#include "ltx/base/progress.h"
#include "ltx/base/signals.h"
#include "ltx/base/time.h"
#include "subscriber/restorer.h"
#include "tools/command.h"
#include "tools/source_kind.h"

namespace runnel::tools {
namespace {

struct RestoreOptions {
  std::vector<std::string> sources;
  std::string output;
  std::string txid;
  std::string timestamp;
  bool force = false;
  bool dry_run = false;
};

Result<Txid> ParseTarget(const std::string& text) {
  if (std::optional<Txid> txid = ParseTxid(text); txid && *txid != Txid()) return *txid;
  return Error(Errc::kInvalid, "--txid " + text + " is no TXID: it has 16 hex digits, as runnel status prints it");
}

Result<subscriber::RestoreRequest> RequestFor(const Context& context, const RestoreOptions& options) {
  subscriber::RestoreRequest request;
  request.output = options.output;
  request.replace = options.force;
  if (!options.txid.empty()) {
    TRY_ASSIGN(request.txid, ParseTarget(options.txid));
  }
  if (!options.timestamp.empty()) {
    TRY_ASSIGN(request.time, ParseRfc3339(options.timestamp));
  }
  if (options.output.empty() && !options.dry_run) return Error(Errc::kInvalid, "restore needs -o FILE");
  TRY_ASSIGN(const NodeSettings settings, LoadSettings(context.config_file));
  TRY_ASSIGN(const Sources sources, SourcesOf(settings, options.sources));
  request.archive_url = sources.archive;
  request.bus_url = sources.bus;
  request.bus = BusOptionsFor(settings, sources.bus.value_or(""));
  request.store = StoreOptionsFor(settings, sources.archive.value_or(""));
  request.bus.client_name = request.store.client_name = "runnel restore";
  request.bus.force = true;  // a log whose settings endanger data is still read
  return request;
}

nlohmann::json StepsOf(const subscriber::Restorer& restorer) {
  nlohmann::json steps = nlohmann::json::array();
  for (const subscriber::Restorer::Step& step : restorer.steps()) {
    nlohmann::json json = {{"object", step.object.empty() ? "log" : step.object}, {"after", ToString(step.after)}};
    json["upto"] = step.upto == Txid() ? nlohmann::json("end") : nlohmann::json(ToString(step.upto));
    if (!step.object.empty()) json["bytes"] = step.bytes;
    steps.push_back(std::move(json));
  }
  return steps;
}

int PrintPlan(const Context& context, const subscriber::Restorer& restorer) {
  if (context.json) {
    std::printf("%s\n", nlohmann::json{{"steps", StepsOf(restorer)}}.dump(2).c_str());
    return kExitOk;
  }
  for (const subscriber::Restorer::Step& step : restorer.steps()) {
    const std::string upto = step.upto == Txid() ? "its end" : ToString(step.upto);
    if (step.object.empty()) {
      std::printf("the log, from %s to %s\n", ToString(step.after.Next()).c_str(), upto.c_str());
    } else {
      std::printf("%s, to %s, %llu bytes\n", step.object.c_str(), upto.c_str(),
                  static_cast<unsigned long long>(step.bytes));
    }
  }
  return kExitOk;
}

void PrintReport(const Context& context, const RestoreOptions& options, const subscriber::RestoreReport& report,
                 double seconds) {
  const uint64_t bytes = uint64_t{report.page_count} * report.page_size.raw();
  const std::string time = FormatRfc3339(report.commit_time);
  if (context.json) {
    nlohmann::json json = {{"output", options.output},
                           {"position", ToString(report.position)},
                           {"txid", ToString(report.position.txid)},
                           {"checksum", ToString(report.position.checksum)},
                           {"checksum_known", report.checksum_known},
                           {"timestamp", time},
                           {"page_size", report.page_size.raw()},
                           {"page_count", report.page_count},
                           {"bytes", bytes},
                           {"archive_objects", report.objects},
                           {"archive_bytes", report.archive_bytes},
                           {"log_files", report.log_files},
                           {"seconds", seconds}};
    std::printf("%s\n", json.dump(2).c_str());
    return;
  }
  std::printf("%s: %s of %s, %u pages of %u bytes, from %llu archived objects and %llu commits of the log, in %.2f s\n",
              options.output.c_str(), ToString(report.position).c_str(), time.c_str(), report.page_count,
              report.page_size.raw(), static_cast<unsigned long long>(report.objects),
              static_cast<unsigned long long>(report.log_files), seconds);
}

int Restore(const Context& context, const RestoreOptions& options) {
  Result<std::unique_ptr<Signals>> signals = Signals::Install();
  if (!signals.ok()) return Fail(signals.error());
  Result<subscriber::RestoreRequest> request = RequestFor(context, options);
  if (!request.ok()) return Fail(request.error());
  Progress progress("restore", ProgressUnit::kBytes, 0);
  request->progress = [&progress](uint64_t done, uint64_t total) {
    progress.SetTotal(total);
    progress.Set(done);
  };
  const SteadyTime started = SystemClock().Now();
  Result<std::unique_ptr<subscriber::Restorer>> restorer =
      subscriber::Restorer::Open(std::move(*request), (*signals)->stop_token());
  auto fail = [&](const Error& error) {
    const bool stopped = (*signals)->stop_token().stop_requested();
    return stopped ? (*signals)->exit_code() : Fail(error);
  };
  if (!restorer.ok()) return fail(restorer.error());
  if (options.dry_run) return PrintPlan(context, **restorer);
  Result<subscriber::RestoreReport> report = (*restorer)->Run();
  if (!report.ok()) return fail(report.error());
  progress.Finish();
  const std::chrono::duration<double> took = SystemClock().Now() - started;
  PrintReport(context, options, *report, took.count());
  return kExitOk;
}

}  // namespace

void AddRestore(CLI::App& app, Context& context) {
  auto options = std::make_shared<RestoreOptions>();
  CLI::App* verb = app.add_subcommand("restore", "Make a database file as it was, from an archive, a bus, or both");
  verb->fallthrough();
  verb->add_option("SOURCE", options->sources,
                   "Archive (file:///dir, s3://bucket/prefix?endpoint=..., nats://host/BUCKET), bus, or both")
      ->required()
      ->expected(1, 2);
  verb->add_option("-o,--output", options->output, "The file to make");
  CLI::Option* txid = verb->add_option("--txid", options->txid, "As of exactly this TXID (default: the newest)");
  verb->add_option("--timestamp", options->timestamp, "As of the newest commit at or before this RFC 3339 time")
      ->excludes(txid);
  verb->add_flag("--force", options->force, "Replace the output if it is there");
  verb->add_flag("--dry-run", options->dry_run, "Only say what would be read");
  verb->callback([&context, options] { context.run = [&context, options] { return Restore(context, *options); }; });
}

}  // namespace runnel::tools
