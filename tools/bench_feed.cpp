#include "tools/bench_feed.h"

#include <fcntl.h>
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <thread>

#include <nlohmann/json.hpp>

#include "bus/envelope.h"
#include "bus/open.h"
#include "ltx/base/bytes.h"
#include "ltx/base/fs.h"
#include "ltx/base/time.h"
#include "subscriber/feed/feed_image.h"
#include "subscriber/feed/feeder.h"
#include "subscriber/feed/sink/stream_sink.h"
#include "subscriber/feed_entries.h"
#include "subscriber/feed_runner.h"
#include "tools/bench_parts.h"
#include "tools/version.h"

namespace runnel::tools {
namespace {

using std::chrono::seconds;

constexpr uint64_t kRowBytes = 245;  // of the database, a row with its index entry

struct Workload {
  const char* name;
  uint64_t commits;
  uint64_t rows_each;
  bool appends;  // rows behind the last one, else updates at random places
};

struct FeedRig {
  BenchDir dir;
  std::string source = dir / "source.db";
  std::string bus;
};

// A log of one commit a TXID, however fast they come.
Result<std::unique_ptr<BenchChild>> StartPublisher(FeedRig& rig, const std::string& self) {
  std::string config = rig.dir / "publish.yml";
  std::string text =
      "http: off\ndefaults:\n  coalesce-after: never\ndbs:\n  - path: " + rig.source + "\n    bus: " + rig.bus + "\n";
  TRY(WriteFileAtomically(config, AsBytes(text)));
  return BenchChild::Start({self, "--config", config, "publish"}, rig.dir / "publisher.log");
}

// Waits until the log has stood still for a moment: everything is published.
Result<Txid> AwaitQuiet(bus::Log& log) {
  BenchClock::time_point end = BenchClock::now() + seconds(600);
  Txid last;
  while (BenchClock::now() < end) {
    TRY(SleepUntil(DeadlineIn(seconds(1)), {}));
    Result<std::optional<bus::Message>> tail = log.Tail();
    if (!tail.ok() || !*tail) continue;
    TRY_ASSIGN(bus::Header header, bus::DecodeHeader((*tail)->payload));
    if (header.position.checksum.valid() && header.position.txid == last && last.raw() != 0) return last;
    last = header.position.txid;
  }
  return Error(Errc::kTimeout, "the publisher did not come to rest within 600 s");
}

// Of this thread: what the work costs on a core of its own, whatever else the machine does.
double CpuSeconds() {
  timespec time{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) / 1e9;
}

long AnonymousKib() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.rfind("RssAnon:", 0) == 0) return std::atol(line.c_str() + 8);
  }
  return 0;
}

feed::FeederOptions OptionsOf() {
  feed::FeederOptions options;
  options.encoder.version = kVersion;
  options.encoder.name = "bench";
  options.encoder.database = "source";
  options.now_ms = [] {
    return std::chrono::floor<std::chrono::milliseconds>(std::chrono::system_clock::now()).time_since_epoch().count();
  };
  return options;
}

// The image moves to the log's head in silence; the state directory is then what a running feed has.
Status TakeImage(const FeedRig& rig) {
  subscriber::FeedConfig config;
  config.bus_url = rig.bus;
  config.name = "source";
  config.state_dir = rig.dir / "feed";
  config.start.kind = subscriber::FeedStart::Kind::kLatest;
  config.once = true;
  config.open_sink = []() -> Result<std::unique_ptr<feed::Sink>> {
    return std::unique_ptr<feed::Sink>(
        std::make_unique<feed::StreamSink>(STDOUT_FILENO, feed::EventFormat::kDebezium, "stdout"));
  };
  return subscriber::FeedRunner(std::move(config)).Run({});
}

// Everything behind the image, on one core.
Result<nlohmann::json> Tell(const FeedRig& rig, const Workload& load, Txid head) {
  TRY_ASSIGN(std::unique_ptr<bus::Log> log, bus::OpenLog(rig.bus, {}));
  long memory_before = AnonymousKib();
  TRY_ASSIGN(std::unique_ptr<feed::FeedImage> image, feed::FeedImage::Open(rig.dir / "feed"));
  Fd null(::open("/dev/null", O_WRONLY | O_CLOEXEC));
  feed::StreamSink sink(null.get(), feed::EventFormat::kDebezium, "/dev/null");
  feed::Feeder feeder(*image, sink, OptionsOf());
  BenchClock::time_point opened = BenchClock::now();
  TRY(feeder.Start({}));
  TRY_ASSIGN(std::unique_ptr<subscriber::FeedEntries> entries,
             subscriber::FeedEntries::Open(*log, image->state().lineage, feeder.position(), {}));
  long memory_most = 0;
  auto take = [&](const feed::FeedEntry& entry) -> Result<Position> {
    TRY(feeder.Take(entry, {}));
    return feeder.position();
  };
  BenchClock::time_point start = BenchClock::now();
  double cpu_start = CpuSeconds();
  while (feeder.position().txid < head) {
    TRY(entries->Next(DeadlineIn(seconds(10)), {}, take));
    if (feeder.stats().ltx_files % 1024 == 0 || load.rows_each > 1000) {
      memory_most = std::max(memory_most, AnonymousKib() - memory_before);
    }
  }
  TRY(feeder.Settle({}));
  double took = std::chrono::duration<double>(BenchClock::now() - start).count();
  double cpu = CpuSeconds() - cpu_start;
  double rows = static_cast<double>(load.commits * load.rows_each);
  uint64_t frames = 2 * feeder.stats().commits;  // BEGIN and END
  return nlohmann::json{{"commits", feeder.stats().commits},
                        {"row_events", feeder.stats().events - std::min(frames, feeder.stats().events)},
                        {"seconds", took},
                        {"cpu_seconds", cpu},
                        {"row_events_per_s", rows / took},
                        {"row_events_per_cpu_s", rows / cpu},
                        {"cpu_us_per_commit", cpu * 1e6 / static_cast<double>(feeder.stats().commits)},
                        {"start_s", std::chrono::duration<double>(start - opened).count()},
                        {"pages", image->page_count()},
                        {"anonymous_kib", memory_most}};
}

Result<nlohmann::json> OneCore(const FeedRig& rig, const Workload& load, Txid head) {
  Result<nlohmann::json> result = Error(Errc::kCancelled, "not run");
  std::jthread worker([&] {
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    ::sched_setaffinity(0, sizeof one, &one);
    result = Tell(rig, load, head);
  });
  worker.join();
  return result;
}

Result<nlohmann::json> RunWorkload(FeedRig& rig, const std::string& self, const Workload& load, uint64_t rows) {
  std::fprintf(stderr, "bench: feed, %s ...\n", load.name);
  TRY_ASSIGN(std::unique_ptr<bus::Log> log, bus::OpenLog(rig.bus, {}));
  TRY_ASSIGN(std::unique_ptr<BenchChild> publisher, StartPublisher(rig, self));
  TRY(AwaitQuiet(*log));
  TRY_ASSIGN(bool taken, FileExists(rig.dir / "feed/state"));
  if (!taken) TRY(TakeImage(rig));
  TRY_ASSIGN(std::unique_ptr<BenchWriter> writer, BenchWriter::Open(rig.source, "OFF"));
  TRY(load.appends ? writer->AppendRows(load.commits, load.rows_each)
                   : writer->ChangeRows(rows, load.commits, load.rows_each));
  TRY_ASSIGN(Txid head, AwaitQuiet(*log));
  publisher.reset();
  return OneCore(rig, load, head);
}

}  // namespace

Result<nlohmann::json> BenchFeed(const std::string& self, uint64_t mib) {
  uint64_t rows = (mib << 20) / kRowBytes;
  FeedRig rig;
  rig.bus = "file://" + (rig.dir / "bus") + "/source";
  std::fprintf(stderr, "bench: feed, making %llu MiB ...\n", static_cast<unsigned long long>(mib));
  {
    TRY_ASSIGN(std::unique_ptr<BenchWriter> writer, BenchWriter::Open(rig.source, "OFF"));
    TRY(writer->FillRows(rows));
  }
  nlohmann::json report = {{"database_mib", mib}};
  for (const Workload& load : {Workload{"bulk", 20, 50000, false}, Workload{"ten_rows", 20000, 10, false},
                               Workload{"one_row", 100000, 1, false}, Workload{"one_row_appended", 100000, 1, true}}) {
    TRY_ASSIGN(report[load.name], RunWorkload(rig, self, load, rows));
  }
  return report;
}

}  // namespace runnel::tools
