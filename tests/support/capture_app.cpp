// capture_app DB DIRECTORY [key=value ...]: runs capture into an image file, as a process of its own that tests may
// kill. Keys: ack_us (delay of acknowledgements), limit (wal-limit in bytes), checkpoint (frames, 0: never), shield_us,
// detect (poll). Creates DIRECTORY/ready when capturing. On SIGTERM it publishes what is there, prints one line of
// numbers and exits 0.
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <utility>

#include "tests/support/image_publisher.h"

namespace {

using namespace runnel;
using publisher::Clock;
using std::chrono::milliseconds;

volatile sig_atomic_t g_stop = 0;

void Apply(const std::string& key, const std::string& value, testing::ImagePublisher::Options& options) {
  long number = std::strtol(value.c_str(), nullptr, 10);
  if (key == "ack_us") options.ack_delay = std::chrono::microseconds(number);
  if (key == "limit") options.capture.wal_limit_bytes = static_cast<uint64_t>(number);
  if (key == "shield_us") options.capture.shield = std::chrono::microseconds(number);
  if (key == "checkpoint") {
    options.capture.checkpoint_frames =
        number == 0 ? std::nullopt : std::optional<uint32_t>(static_cast<uint32_t>(number));
  }
  if (key == "detect" && value == "poll") options.capture.detect = publisher::Detect::kPoll;
}

void Print(testing::ImagePublisher& publisher) {
  publisher::CaptureStats s = publisher.capture().stats();
  const testing::ImagePublisher::State& state = publisher.state();
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  double cpu = static_cast<double>(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               static_cast<double>(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
  const std::pair<const char*, uint64_t> numbers[] = {{"commits", state.commits},
                                                      {"images", state.images},
                                                      {"resumes", state.resumes},
                                                      {"run_commits", s.commits},
                                                      {"gaps", s.gaps},
                                                      {"resets", s.wal_resets},
                                                      {"zero", s.pins_zero},
                                                      {"mark", s.pins_mark},
                                                      {"nomark", s.pins_nomark},
                                                      {"shared", s.pins_shared},
                                                      {"pinfail", s.pins_failed},
                                                      {"shield", s.shield_waits},
                                                      {"ckpt", s.checkpoints},
                                                      {"busy", s.checkpoints_busy},
                                                      {"behind", s.checkpoints_behind_reader},
                                                      {"ckfail", s.checkpoints_failed},
                                                      {"finished", s.finished},
                                                      {"givenup", s.finish_given_up},
                                                      {"forced", s.forced},
                                                      {"unfinished", s.forced_unfinished},
                                                      {"refused", s.forced_refused},
                                                      {"hold_us_avg", s.forced == 0 ? 0 : s.hold_us_total / s.forced},
                                                      {"hold_us_max", s.hold_us_max},
                                                      {"recoveries", s.recoveries},
                                                      {"unverified", s.unverified_frames}};
  for (const auto& [name, value] : numbers) std::printf("%s=%lu ", name, static_cast<unsigned long>(value));
  std::printf("wal_mb=%.1f cpu=%.2f\n", static_cast<double>(s.wal_bytes_max) / 1e6, cpu);
}

int Fail(const Error& error) {
  std::printf("FAILED %s: %s\n", std::string(ToString(error.code())).c_str(), error.message().c_str());
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc < 3) return 2;
  ::signal(SIGTERM, [](int) { g_stop = 1; });
  testing::ImagePublisher::Options options;
  options.capture.path = argv[1];
  options.directory = argv[2];
  for (int i = 3; i < argc; ++i) {
    std::string argument = argv[i];
    size_t equals = argument.find('=');
    if (equals != std::string::npos) Apply(argument.substr(0, equals), argument.substr(equals + 1), options);
  }
  publisher::WakeHub hub;
  Result<std::unique_ptr<testing::ImagePublisher>> opened = testing::ImagePublisher::Open(options, hub);
  if (!opened.ok()) return Fail(opened.error());
  testing::ImagePublisher& publisher = **opened;
  ::close(::open((options.directory + "/ready").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  while (true) {
    bool stopping = g_stop != 0;
    Status turn = publisher.Turn();
    if (!turn.ok()) return Fail(turn.error());
    if (stopping && publisher.quiet()) break;
    publisher.Wait(Clock::now() + milliseconds(stopping ? 1 : 50));
  }
  Print(publisher);
  return 0;
}
