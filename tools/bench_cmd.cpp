// runnel bench: the numbers the README quotes, measured on this machine in one run, as JSON. Real SQLite writers, the
// real nodes as child processes, the real bus. Rates with and without us are measured in turn, so that a machine whose
// speed drifts is fair.
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "bus/url.h"
#include "ltx/base/time.h"
#include "tools/bench_feed.h"
#include "tools/bench_parts.h"
#include "tools/bench_restore.h"
#include "tools/command.h"
#include "tools/version.h"

namespace runnel::tools {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

struct BenchOptions {
  std::vector<std::string> buses = {"file"};
  std::string bus;  // the one being measured
  std::vector<std::string> only;
  int time_s = 5;
  int pairs = 3;
  double sustained_rate = 20000;
  uint64_t catchup_mib = 512;
  uint64_t feed_mib = 1024;
};

// One publisher and one subscriber over a log of their own.
struct Rig {
  BenchDir dir;
  std::string source = dir / "source.db";
  std::string replica = dir / "replica.db";
  std::string bus;
  std::unique_ptr<BenchChild> publisher;
  std::unique_ptr<BenchChild> subscriber;
};

std::string Self() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

// A bus given as a URL ends in the database's name, perhaps with parameters behind it; each scenario gets a log of its
// own.
std::string BusFor(const BenchOptions& options, const Rig& rig, const std::string& scenario) {
  if (options.bus == "file") return "file://" + (rig.dir / "bus") + "/" + scenario;
  const size_t end = std::min(options.bus.find('?'), options.bus.size());
  return options.bus.substr(0, end) + "_" + scenario + "_" + std::to_string(::getpid()) + options.bus.substr(end);
}

// "nats", "kafka fencing=transactional": enough to tell the columns of one run apart, and no secrets.
std::string LabelOf(const std::string& bus) {
  const size_t scheme = std::min(bus.find(':'), bus.size());
  const size_t query = bus.find('?');
  return bus.substr(0, scheme) + (query == std::string::npos ? "" : " " + bus.substr(query + 1));
}

Status Attach(Rig& rig, bool with_subscriber) {
  TRY_ASSIGN(rig.publisher,
             BenchChild::Start({Self(), "publish", "--http", "off", rig.source, rig.bus}, rig.dir / "publisher.log"));
  if (!with_subscriber) return Ok();
  TRY_ASSIGN(rig.subscriber, BenchChild::Start({Self(), "subscribe", "--http", "off", rig.bus, rig.replica},
                                               rig.dir / "subscriber.log"));
  return Ok();
}

nlohmann::json MemoryOf(const BenchChild& child) {
  BenchChild::Memory memory = child.memory();
  return {{"peak_rss_kib", memory.peak_kib}, {"anonymous_kib", memory.anonymous_kib}};
}

std::vector<double> Delays(const std::vector<BenchClock::time_point>& committed,
                           const std::vector<BenchClock::time_point>& seen, size_t skip) {
  std::vector<double> delays;
  for (size_t i = skip; i < std::min(committed.size(), seen.size()); ++i) {
    delays.push_back(std::max(0.0, std::chrono::duration<double, std::milli>(seen[i] - committed[i]).count()));
  }
  return delays;
}

// Time from COMMIT returning in the application to the row being seen through an ordinary connection to the replica.
Result<nlohmann::json> Latency(const BenchOptions& options, double rate, const std::string& name, int time_s) {
  Rig rig;
  rig.bus = BusFor(options, rig, name);
  TRY_ASSIGN(std::unique_ptr<BenchWriter> writer, BenchWriter::Open(rig.source, "NORMAL"));
  TRY(writer->Fill(100, 100, 100));
  TRY(Attach(rig, true));
  BenchReader reader(rig.replica);
  if (!reader.Await(100, BenchClock::now() + seconds(20)))
    return Error(Errc::kTimeout, name + ": no replica within 20 s");
  TRY(writer->Run(rate, seconds(1)));  // warm
  size_t warm = writer->committed_at().size();
  BenchClock::time_point start = BenchClock::now();
  TRY(writer->Run(rate, seconds(time_s)));
  double written = static_cast<double>(writer->committed_at().size() - warm);
  double took = std::chrono::duration<double>(BenchClock::now() - start).count();
  BenchClock::time_point stopped = BenchClock::now();
  bool caught_up = reader.Await(writer->committed_at().size(), BenchClock::now() + seconds(60));
  double drain_ms = std::chrono::duration<double, std::milli>(BenchClock::now() - stopped).count();
  nlohmann::json result = {{"rate_asked", rate},
                           {"rate", written / took},
                           {"caught_up", caught_up},
                           {"drain_ms", drain_ms},
                           {"publisher", MemoryOf(*rig.publisher)},
                           {"subscriber", MemoryOf(*rig.subscriber)},
                           {"publisher_cpu_s", rig.publisher->cpu_seconds()},
                           {"subscriber_cpu_s", rig.subscriber->cpu_seconds()}};
  std::vector<double> delays = Delays(writer->committed_at(), reader.Stop(), warm);
  result["commits"] = delays.size();
  result["p50_ms"] = Quantile(delays, 0.5);
  result["p99_ms"] = Quantile(delays, 0.99);
  return result;
}

// What an application that does nothing but commit runs beside.
struct Company {
  bool publisher = false;
  double counting = 0;  // in cores, what two processes that only count use together
};

struct CommitRate {
  double rate = 0;  // commits a second
  double cpu = 0;   // of the publisher, in cores
};

Result<CommitRate> RunBeside(const Company& company, const BenchOptions& options, const std::string& synchronous,
                             int pair) {
  Rig rig;
  rig.bus = BusFor(options, rig, "overhead" + synchronous + std::to_string(pair));
  TRY_ASSIGN(std::unique_ptr<BenchWriter> writer, BenchWriter::Open(rig.source, synchronous));
  TRY(writer->Fill(1000, 100, 1000));
  if (company.publisher) TRY(Attach(rig, false));
  std::unique_ptr<BenchChild> counters[2];
  if (company.counting > 0) {
    for (std::unique_ptr<BenchChild>& counter : counters) {
      TRY_ASSIGN(counter, BenchChild::StartCounting(std::min(company.counting / 2, 1.0)));
    }
  }
  TRY(writer->Run(0, milliseconds(1500)));  // the WAL finds its size, the publisher its place
  auto publisher_cpu = [&rig] { return rig.publisher != nullptr ? rig.publisher->cpu_seconds() : 0; };
  const size_t commits_before = writer->committed_at().size();
  const double cpu_before = publisher_cpu();
  TRY(writer->Run(0, seconds(options.time_s)));
  const double cpu = publisher_cpu() - cpu_before;
  if (company.publisher && !rig.publisher->running()) {
    return Error(Errc::kUnavailable, "the publisher ended while the application was measured");
  }
  const auto commits = static_cast<double>(writer->committed_at().size() - commits_before);
  return CommitRate{commits / options.time_s, cpu / options.time_s};
}

// The application's own commit rate, with the publisher attached and without, in turn. And beside two processes that
// touch nothing and use the publisher's CPU time alone, without the bus server's: how much of what it loses is the cost
// of sharing this machine at all.
Result<nlohmann::json> Overhead(const BenchOptions& options, const std::string& synchronous) {
  std::vector<double> ratios;
  std::vector<double> counting_ratios;
  nlohmann::json pairs = nlohmann::json::array();
  for (int pair = 0; pair < options.pairs; ++pair) {
    CommitRate rates[2];
    for (int with : {pair % 2, 1 - pair % 2}) {
      TRY_ASSIGN(rates[with], RunBeside({.publisher = with == 1}, options, synchronous, pair));
    }
    TRY_ASSIGN(CommitRate counting, RunBeside({.counting = rates[1].cpu}, options, synchronous, pair));
    ratios.push_back(rates[1].rate / rates[0].rate);
    counting_ratios.push_back(counting.rate / rates[0].rate);
    pairs.push_back({{"without", rates[0].rate},
                     {"with", rates[1].rate},
                     {"ratio", ratios.back()},
                     {"publisher_cores", rates[1].cpu},
                     {"counting", counting.rate},
                     {"counting_ratio", counting_ratios.back()}});
  }
  return nlohmann::json{{"synchronous", synchronous},
                        {"pairs", pairs},
                        {"ratio_median", Median(ratios)},
                        {"counting_ratio_median", Median(counting_ratios)}};
}

// How fast a new replica takes over a log that is already there.
Result<nlohmann::json> CatchUp(const BenchOptions& options) {
  Rig rig;
  rig.bus = BusFor(options, rig, "catchup");
  TRY_ASSIGN(std::unique_ptr<BenchWriter> writer, BenchWriter::Open(rig.source, "NORMAL"));
  TRY(writer->Fill(10, 100, 10));
  TRY(Attach(rig, true));
  {
    BenchReader reader(rig.replica);
    if (!reader.Await(10, BenchClock::now() + seconds(20)))
      return Error(Errc::kTimeout, "catchup: no replica within 20 s");
  }
  rig.subscriber.reset();  // away while the log grows
  uint64_t rows = options.catchup_mib * 1024;
  TRY(writer->Fill(rows, 1000, 200));
  TRY_ASSIGN(
      std::unique_ptr<BenchChild> behind,
      BenchChild::Start({Self(), "subscribe", "--http", "off", rig.bus, rig.replica}, rig.dir / "subscriber.log"));
  BenchClock::time_point start = BenchClock::now();
  BenchReader reader(rig.replica);
  bool done = reader.Await(rows + 10, BenchClock::now() + seconds(300));
  double took = std::chrono::duration<double>(BenchClock::now() - start).count();
  double mib = static_cast<double>(std::filesystem::file_size(rig.source)) / (1 << 20);
  reader.Stop();
  return nlohmann::json{{"done", done},
                        {"database_mib", mib},
                        {"seconds", took},
                        {"mib_per_s", mib / took},
                        {"publisher", MemoryOf(*rig.publisher)},
                        {"subscriber", MemoryOf(*behind)}};
}

// The change feed alone, on a log of its own kind: left out unless it is asked for.
int BenchFeedOnly(const BenchOptions& options) {
  Result<nlohmann::json> result = BenchFeed(Self(), options.feed_mib);
  if (!result.ok()) return Fail(result.error());
  nlohmann::json report = {{"runnel", kVersion}, {"cores", ::sysconf(_SC_NPROCESSORS_ONLN)}, {"feed", *result}};
  std::printf("%s\n", report.dump(2).c_str());
  return kExitOk;
}

double LoadNow() {
  double load = 0;
  return ::getloadavg(&load, 1) == 1 ? load : -1;
}

// The rows that matter when buses are compared, a column for each.
void PrintTable(const nlohmann::json& report) {
  const nlohmann::json& buses = report["buses"];
  std::fprintf(stderr, "\n%-40s", "");
  for (const nlohmann::json& bus : buses) std::fprintf(stderr, "  %26s", bus.value("bus", "").c_str());
  std::fprintf(stderr, "\n");
  const std::vector<std::pair<std::string, std::string>> rows = {{"latency_100", "p50_ms"},
                                                                 {"latency_100", "p99_ms"},
                                                                 {"latency_1000", "p50_ms"},
                                                                 {"latency_1000", "p99_ms"},
                                                                 {"latency_10000", "p50_ms"},
                                                                 {"latency_10000", "p99_ms"},
                                                                 {"latency_10000", "drain_ms"},
                                                                 {"sustained", "rate"},
                                                                 {"sustained", "drain_ms"},
                                                                 {"catchup", "mib_per_s"},
                                                                 {"overhead_normal", "ratio_median"},
                                                                 {"overhead_full", "ratio_median"},
                                                                 {"overhead_full", "counting_ratio_median"}};
  for (const auto& [scenario, value] : rows) {
    // Named again: clang takes a structured binding into a lambda from version 16 on only.
    const auto ran = [&key = scenario](const nlohmann::json& bus) { return bus.contains(key); };
    if (!std::any_of(buses.begin(), buses.end(), ran)) continue;
    std::fprintf(stderr, "%-40s", (scenario + " " + value).c_str());
    for (const nlohmann::json& bus : buses) {
      const nlohmann::json result = bus.value(scenario, nlohmann::json::object());
      if (result.contains(value)) {
        std::fprintf(stderr, "  %26.2f", result[value].get<double>());
      } else {
        std::fprintf(stderr, "  %26s", result.contains("error") ? "failed" : "-");
      }
    }
    std::fprintf(stderr, "\n");
  }
}

int Bench(const BenchOptions& given) {
  for (const std::string& bus : given.buses) {
    if (bus == "file") continue;
    if (Result<bus::Url> url = bus::ParseUrl(bus); !url.ok()) return Fail(url.error());
  }
  BenchOptions options = given;
  using Scenario = std::pair<std::string, std::function<Result<nlohmann::json>()>>;
  std::vector<Scenario> scenarios = {
      {"latency_100", [&] { return Latency(options, 100, "latency_100", options.time_s); }},
      {"latency_1000", [&] { return Latency(options, 1000, "latency_1000", options.time_s); }},
      {"latency_10000", [&] { return Latency(options, 10000, "latency_10000", options.time_s); }},
      {"overhead_normal", [&] { return Overhead(options, "NORMAL"); }},
      {"overhead_full", [&] { return Overhead(options, "FULL"); }},
      {"sustained", [&] { return Latency(options, options.sustained_rate, "sustained", options.time_s * 2); }},
      {"catchup", [&] { return CatchUp(options); }},
  };
  const bool one = options.buses.size() == 1;
  std::vector<nlohmann::json> results(options.buses.size(), nlohmann::json::object());
  int code = kExitOk;
  for (const auto& [name, run] : scenarios) {
    if (!options.only.empty() && std::find(options.only.begin(), options.only.end(), name) == options.only.end())
      continue;
    // Buses in turn within each scenario: a machine whose speed drifts is fair to all.
    for (size_t i = 0; i < options.buses.size(); ++i) {
      options.bus = options.buses[i];
      std::fprintf(stderr, "bench: %s%s ...\n", name.c_str(), one ? "" : (" over " + LabelOf(options.bus)).c_str());
      const double load = LoadNow();
      Result<nlohmann::json> result = run();
      results[i][name] = result.ok() ? *std::move(result) : nlohmann::json{{"error", result.error().message()}};
      results[i][name]["load_before"] = load;
      if (!result.ok()) code = kExitFailed;
    }
  }
  nlohmann::json report = {{"runnel", kVersion}, {"cores", ::sysconf(_SC_NPROCESSORS_ONLN)}};
  if (one) {
    report["bus"] = options.buses[0] == "file" ? "file" : "given";
    report.update(results[0]);
  } else {
    report["buses"] = nlohmann::json::array();
    for (size_t i = 0; i < options.buses.size(); ++i) {
      results[i]["bus"] = LabelOf(options.buses[i]);
      report["buses"].push_back(std::move(results[i]));
    }
    PrintTable(report);
  }
  std::printf("%s\n", report.dump(2).c_str());
  return code;
}

}  // namespace

void AddBench(CLI::App& app, Context& context) {
  auto options = std::make_shared<BenchOptions>();
  CLI::App* verb =
      app.add_subcommand("bench", "Measure latency, overhead, throughput and catch-up on this machine; prints JSON");
  verb->fallthrough();
  verb->add_option(
      "--bus", options->buses,
      "\"file\", or a bus URL whose last part is a prefix for log names; given more than once, the buses are "
      "measured in turn and shown beside each other");
  verb->add_option("--only", options->only,
                   "latency_100, latency_1000, latency_10000, overhead_normal, overhead_full, sustained, catchup")
      ->delimiter(',');
  verb->add_option("--time", options->time_s, "Seconds per measurement")->check(CLI::Range(1, 600));
  verb->add_option("--pairs", options->pairs, "Pairs of runs for the overhead")->check(CLI::Range(1, 100));
  verb->add_option("--rate", options->sustained_rate, "Commits per second of the sustained run");
  verb->add_option("--catchup-mib", options->catchup_mib, "Size of the log to catch up with");
  auto restore = std::make_shared<RestoreBenchOptions>();
  CLI::App* restore_verb =
      verb->add_subcommand("restore", "A restore beside cp, Litestream's, and what an S3 server sends");
  restore_verb->add_option("--mib", restore->mib, "Size of the database")->check(CLI::Range(1, 1 << 20));
  restore_verb->add_option("--runs", restore->runs, "Of each, in turn")->check(CLI::Range(1, 100));
  restore_verb->add_option("--archive", restore->archive,
                           "URL of an empty place for the archive (default: a temporary directory)");
  restore_verb->add_option("--litestream", restore->litestream, "Its binary, to be measured too");
  CLI::App* feed_verb = verb->add_subcommand("feed", "Events a second of the change feed, from a log that is there");
  feed_verb->add_option("--feed-mib", options->feed_mib, "Size of the database")->capture_default_str();
  // A verb's callback runs behind that of its sub-command.
  verb->callback([&context, options, restore, restore_verb, feed_verb] {
    context.run = [options, restore, restores = restore_verb->parsed(), feeds = feed_verb->parsed()] {
      if (feeds) return BenchFeedOnly(*options);
      return restores ? BenchRestore(*restore) : Bench(*options);
    };
  });
}

}  // namespace runnel::tools
