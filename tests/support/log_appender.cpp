// A publisher in small, in a process of its own, so that a test can freeze or kill it: leads a log and appends
// NAME/0, NAME/1, ... as fast as the log takes them, and goes on behind the tail after a failure, as the real one does.
//
//   log_appender URL NAME [WINDOW]
//
// Prints a line for each change: "leading FIRST", "acked COUNT" (every 100, COUNT over all leaderships), "again REASON"
// (takes over once more). Ends on SIGTERM with 0, with 5 when another writer leads, with 1 when it gave up.
#include <signal.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

#include <fmt/format.h>

#include "bus/open.h"
#include "ltx/base/time.h"

namespace runnel {
namespace {

constexpr int kFenced = 5;
constexpr std::chrono::seconds kGiveUp(120);

std::atomic<bool> g_stop = false;  // set by the signal handler, which has nothing else to reach

void Say(const std::string& line) {
  std::puts(line.c_str());
  std::fflush(stdout);
}

// The number to go on with: one behind our own tail; nullopt when the tail is of somebody else.
std::optional<uint64_t> NumberBehind(const std::optional<bus::Message>& tail, const std::string& name, bool led) {
  if (!tail.has_value()) return 0;
  const std::string& payload = tail->payload;
  if (payload.starts_with(name + "/")) return std::strtoull(payload.c_str() + name.size() + 1, nullptr, 10) + 1;
  if (payload == name) return 0;  // our own marker
  return led ? std::nullopt : std::optional<uint64_t>(0);
}

// One leadership. The error that ended it.
Status Lead(bus::Log& log, const std::string& name, bool led, const bus::WriterOptions& options) {
  uint64_t next = 0;
  TRY_ASSIGN(const std::unique_ptr<bus::LogWriter> writer,
             log.TakeOver(
                 [&](const std::optional<bus::Message>& tail) -> Result<std::optional<std::string>> {
                   const std::optional<uint64_t> number = NumberBehind(tail, name, led);
                   if (!number.has_value()) return Error(Errc::kConflict, "another writer leads");
                   next = *number;
                   return *number > 0 ? std::optional<std::string>() : std::optional<std::string>(name);
                 },
                 options, {}));
  Say(fmt::format("leading {}", next));
  const uint64_t first = next;
  uint64_t told = 0;
  while (!g_stop) {
    TRY(writer->Append(fmt::format("{}/{} {}", name, next, std::string(200, '.')), {}));
    ++next;
    if (const uint64_t acked = writer->acked(); acked / 100 > told) {
      told = acked / 100;
      Say(fmt::format("acked {}", first + acked));
    }
  }
  TRY(writer->WaitAcked(next - first, DeadlineIn(std::chrono::seconds(30)), {}));
  Say(fmt::format("acked {}", next));
  return Ok();
}

int Run(const std::string& url, const std::string& name, uint32_t window) {
  Result<std::unique_ptr<bus::Log>> log = bus::OpenLog(url, {});
  bus::WriterOptions options;
  if (window != 0) options.inflight_messages_max = window;
  Status status = log.ok() ? (*log)->Create() : Status(log.error());
  bool led = false;
  const bus::SteadyTime give_up = DeadlineIn(kGiveUp);
  while (status.ok() || status.code() == Errc::kUnavailable) {
    status = Lead(**log, name, led, options);
    if (status.ok()) return 0;
    led = true;
    if (g_stop || TimeLeft(give_up) == std::chrono::milliseconds(0)) break;
    if (status.code() == Errc::kUnavailable) Say("again " + status.error().message());
  }
  Say("ended " + status.error().message());
  return status.code() == Errc::kConflict ? kFenced : 1;
}

}  // namespace
}  // namespace runnel

int main(int argc, char** argv) {
  if (argc < 3) {
    std::fprintf(stderr, "usage: log_appender URL NAME [WINDOW]\n");
    return 2;
  }
  signal(SIGTERM, [](int) { runnel::g_stop = true; });
  return runnel::Run(argv[1], argv[2], argc > 3 ? static_cast<uint32_t>(std::atoi(argv[3])) : 0);
}
