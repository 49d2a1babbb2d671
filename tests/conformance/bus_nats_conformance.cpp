// The conformance suite against real servers: Debian's nats-server and the pinned newer one.
#include "bus/nats/nats_log.h"
#include "bus/open.h"
#include "bus/url.h"
#include "tests/conformance/bus_conformance.h"
#include "tests/support/nats_admin.h"
#include "tests/support/nats_server.h"
#include "tests/support/peers.h"

namespace runnel::bus {
namespace {

using runnel::testing::NatsAdmin;
using runnel::testing::NatsServer;

class NatsUnderTest : public BusUnderTest {
 public:
  explicit NatsUnderTest(std::unique_ptr<NatsServer> server) : server_(std::move(server)), admin_(server_->port()) {}

  Result<std::unique_ptr<Log>> Open() override {
    TRY_ASSIGN(const Url url, ParseUrl(server_->Url("app")));
    return OpenNatsLog(url, OpenOptions{});
  }

  Status DeleteLog() override {
    TRY(admin_.Api("STREAM.DELETE.RUNNEL-app"));
    return Ok();
  }

  void Pause() override { server_->process().Freeze(); }
  void Resume() override { server_->process().Thaw(); }

  void Restart() override {
    server_->Kill9();
    const Status restarted = server_->Restart();
    ASSERT_TRUE(restarted.ok()) << restarted.error().message();
  }

 private:
  const std::unique_ptr<NatsServer> server_;
  NatsAdmin admin_;
};

std::unique_ptr<BusUnderTest> Make(const std::filesystem::path& binary) {
  NatsServer::Options options;
  options.binary = binary;
  Result<std::unique_ptr<NatsServer>> server = NatsServer::Start(std::move(options));
  EXPECT_TRUE(server.ok()) << server.error().message();
  if (!server.ok()) return nullptr;
  return std::make_unique<NatsUnderTest>(std::move(*server));
}

// Whether the server is there is asked when a case runs: ctest learns the names of the cases at build time, and a
// server that is fetched after that must not find its cases missing.
BusAdapter Adapter(std::optional<std::filesystem::path> (*find)(), const char* what) {
  BusCapabilities capabilities;
  capabilities.can_restart = true;
  return {"nats",
          [find, what]() -> std::unique_ptr<BusUnderTest> {
            const std::optional<std::filesystem::path> binary = find();
            return runnel::testing::RequirePeer(binary, what) ? Make(*binary) : nullptr;
          },
          capabilities};
}

INSTANTIATE_TEST_SUITE_P(Nats2_9, BusConformance,
                         ::testing::Values(Adapter(&runnel::testing::DebianNatsServer,
                                                   "nats-server 2.9 (apt install nats-server)")),
                         BusAdapterName);
INSTANTIATE_TEST_SUITE_P(Nats2_15, BusConformance,
                         ::testing::Values(Adapter(&runnel::testing::NewerNatsServer,
                                                   "nats-server 2.15.2 (tools/peers/get.sh nats-server)")),
                         BusAdapterName);

}  // namespace
}  // namespace runnel::bus
