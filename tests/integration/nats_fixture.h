// The language of the NATS adapter's integration tests: one server, one log, numbered messages.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "tests/integration/bus_words.h"
#include "tests/support/nats_admin.h"
#include "tests/support/nats_server.h"
#include "tests/support/peers.h"

namespace runnel::bus {

using runnel::testing::NatsAdmin;
using runnel::testing::NatsServer;

class NatsAdapter : public ::testing::Test {
 protected:
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
