// Measures one bus through the log contract: latency from Append to Next at a fixed rate, then append and catch-up
// throughput.
//
//   bus_bench URL [rate] [seconds] [bytes] [throughput messages] [throughput bytes]
//
// Makes the log of the URL; use a name that is not in use. Output: one "key value" pair a line.
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include <fmt/format.h>

#include "bus/open.h"

namespace runnel::bus {
namespace {

using std::chrono::microseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

[[noreturn]] void Fail(const Error& error) {
  fmt::print(stderr, "bus_bench: {}\n", error.message());
  exit(1);
}

void Must(const Status& status) {
  if (!status.ok()) Fail(status.error());
}

template <typename T>
T Must(Result<T> result) {
  if (!result.ok()) Fail(result.error());
  return std::move(*result);
}

std::unique_ptr<LogWriter> Lead(Log& log) {
  return Must(log.TakeOver([](const std::optional<Message>&)
                               -> Result<std::optional<std::string>> { return std::optional<std::string>("bench"); },
                           WriterOptions{}, {}));
}

void MeasureLatency(Log& log, int rate, int duration_s, size_t bytes) {
  const std::unique_ptr<LogReader> reader = Must(log.Read(FromEnd{}));
  const std::unique_ptr<LogWriter> writer = Lead(log);
  const int count = rate * duration_s;
  std::vector<double> latencies_us;
  std::jthread receiver([&] {
    while (static_cast<int>(latencies_us.size()) < count) {
      const Message message = Must(reader->Next(steady_clock::now() + seconds(30), {}));
      const int64_t now = steady_clock::now().time_since_epoch().count();
      int64_t sent = 0;
      if (message.payload.size() < bytes) continue;  // the marker
      std::memcpy(&sent, message.payload.data(), sizeof(sent));
      latencies_us.push_back(static_cast<double>(now - sent) / 1000);
    }
  });
  steady_clock::time_point due = steady_clock::now();
  for (int i = 0; i < count; ++i) {
    std::this_thread::sleep_until(due);
    due += microseconds(1000000 / rate);
    std::string payload(bytes, 'x');
    const int64_t now = steady_clock::now().time_since_epoch().count();
    std::memcpy(payload.data(), &now, sizeof(now));
    Must(writer->Append(std::move(payload), {}));
  }
  receiver.join();
  std::sort(latencies_us.begin(), latencies_us.end());
  for (const int percent : {50, 90, 99}) {
    fmt::print("latency_p{}_us {:.0f}\n", percent,
               latencies_us[latencies_us.size() * static_cast<size_t>(percent) / 100]);
  }
}

void MeasureThroughput(Log& log, int count, size_t bytes) {
  StreamSeq from;
  {
    const std::unique_ptr<LogWriter> writer = Lead(log);
    from = writer->acked_seq().Next();
    const steady_clock::time_point start = steady_clock::now();
    for (int i = 0; i < count; ++i) Must(writer->Append(std::string(bytes, static_cast<char>(i)), {}));
    Must(writer->WaitAcked(static_cast<uint64_t>(count), start + seconds(300), {}));
    const double took = std::chrono::duration<double>(steady_clock::now() - start).count();
    fmt::print("append_per_s {:.0f}\nappend_mb_s {:.0f}\n", count / took,
               count / took * static_cast<double>(bytes) / 1e6);
  }
  const std::unique_ptr<LogReader> reader = Must(log.Read(FromSequence{from}));
  const steady_clock::time_point start = steady_clock::now();
  for (int i = 0; i < count; ++i) Must(reader->Next(start + seconds(300), {}));
  const double took = std::chrono::duration<double>(steady_clock::now() - start).count();
  fmt::print("read_per_s {:.0f}\nread_mb_s {:.0f}\n", count / took, count / took * static_cast<double>(bytes) / 1e6);
}

}  // namespace
}  // namespace runnel::bus

int main(int argc, char** argv) {
  const auto number = [&](int index, int standard) { return argc > index ? atoi(argv[index]) : standard; };
  if (argc < 2) {
    fmt::print(stderr, "usage: bus_bench URL [rate] [seconds] [bytes] [throughput messages] [throughput bytes]\n");
    return 2;
  }
  const std::unique_ptr<runnel::bus::Log> log =
      runnel::bus::Must(runnel::bus::OpenLog(argv[1], runnel::bus::OpenOptions{}));
  runnel::bus::Must(log->Create());
  runnel::bus::MeasureLatency(*log, number(2, 1000), number(3, 5), static_cast<size_t>(number(4, 8192)));
  runnel::bus::MeasureThroughput(*log, number(5, 50000), static_cast<size_t>(number(6, 4096)));
  return 0;
}
