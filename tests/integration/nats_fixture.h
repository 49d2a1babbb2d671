// The language of the NATS adapter's integration tests: one server, one log, numbered messages.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "bus/nats/nats_log.h"
#include "bus/open.h"
#include "bus/url.h"
#include "ltx/base/time.h"
#include "tests/support/nats_admin.h"
#include "tests/support/nats_server.h"
#include "tests/support/peers.h"

namespace runnel::bus {

using runnel::testing::NatsAdmin;
using runnel::testing::NatsServer;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

class NatsAdapter : public ::testing::Test {
 protected:
  static constexpr seconds kPatience{30};    // only a broken adapter waits this long
  static constexpr milliseconds kPause{20};  // between two questions to a bus that is away

  // Starts a server, and gives up the test when there is none on this machine.
  void StartServer(NatsServer::Options options = {}) {
    if (options.binary == "nats-server") {
      const std::optional<std::filesystem::path> debian = runnel::testing::DebianNatsServer();
      if (!runnel::testing::RequirePeer(debian, "nats-server 2.9 (apt install nats-server)")) return;
      options.binary = *debian;
    }
    Result<std::unique_ptr<NatsServer>> server = NatsServer::Start(std::move(options));
    ASSERT_TRUE(server.ok()) << server.error().message();
    server_ = std::move(*server);
    admin_ = std::make_unique<NatsAdmin>(server_->port());
    log_ = Open(server_->Url("app"));
  }
  bool running() const { return server_ != nullptr; }

  static std::unique_ptr<Log> Open(const std::string& text, const OpenOptions& options = {}) {
    Result<Url> url = ParseUrl(text);
    EXPECT_TRUE(url.ok()) << url.error().message();
    Result<std::unique_ptr<Log>> log = OpenNatsLog(*url, options);
    EXPECT_TRUE(log.ok()) << log.error().message();
    return std::move(*log);
  }

  static SteadyTime Soon() { return steady_clock::now() + kPatience; }

  static TakeOverDecision Marker(std::string marker) {
    return [marker](const std::optional<Message>&) -> Result<std::optional<std::string>> {
      if (marker.empty()) return std::optional<std::string>();
      return std::optional<std::string>(marker);
    };
  }

  // What a real caller does with an answer that says "not now": asks again, until the patience is at its end. A cluster
  // that has just lost or regained a node answers so for a while.
  template <typename Call>
  static auto Patiently(SteadyTime give_up, Call call) {
    while (true) {
      auto result = call();
      const bool later = !result.ok() && (result.code() == Errc::kUnavailable || result.code() == Errc::kTimeout);
      if (!later || steady_clock::now() > give_up) return result;
      if (!SleepUntil(steady_clock::now() + kPause, {}).ok()) return result;
    }
  }

  // Takes over, trying again while the bus is away.
  static std::unique_ptr<LogWriter> Lead(Log& log, const std::string& marker, WriterOptions options = {}) {
    Result<std::unique_ptr<LogWriter>> writer =
        Patiently(Soon(), [&] { return log.TakeOver(Marker(marker), options, {}); });
    if (writer.ok()) return std::move(*writer);
    ADD_FAILURE() << "take over: " << writer.error().message();
    return nullptr;
  }

  static void AppendAcked(LogWriter& writer, const std::string& prefix, int count) {
    const uint64_t before = writer.acked();
    for (int i = 0; i < count; ++i) {
      const Status appended = writer.Append(prefix + std::to_string(i), {});
      ASSERT_TRUE(appended.ok()) << appended.error().message();
    }
    const Status acked = writer.WaitAcked(before + static_cast<uint64_t>(count), Soon(), {});
    ASSERT_TRUE(acked.ok()) << acked.error().message();
  }

  static Error WaitError(LogWriter& writer) {
    const Status waited = writer.WaitAcked(uint64_t{1} << 40, Soon(), {});
    return waited.ok() ? Error(Errc::kInvalid, "acked too much") : waited.error();
  }

  // All payloads of the log, as a fresh reader sees them.
  static std::vector<std::string> Everything(Log& log) {
    const SteadyTime give_up = steady_clock::now() + 2 * kPatience;
    std::vector<std::string> payloads;
    Result<std::optional<Message>> tail = Patiently(give_up, [&] { return log.Tail(); });
    EXPECT_TRUE(tail.ok()) << tail.error().message();
    if (!tail.ok() || !tail->has_value()) return payloads;
    Result<std::unique_ptr<LogReader>> reader = Patiently(give_up, [&] { return log.Read(FromEarliest{}); });
    EXPECT_TRUE(reader.ok()) << reader.error().message();
    if (!reader.ok()) return payloads;
    StreamSeq last;
    while (last < (*tail)->seq) {
      Result<Message> message = Patiently(give_up, [&] { return (*reader)->Next(give_up, {}); });
      EXPECT_TRUE(message.ok()) << message.error().message();
      if (!message.ok()) return payloads;
      last = message->seq;
      payloads.push_back(std::move(message->payload));
    }
    return payloads;
  }

  std::unique_ptr<NatsServer> server_;
  std::unique_ptr<NatsAdmin> admin_;
  std::unique_ptr<Log> log_;
};

}  // namespace runnel::bus
