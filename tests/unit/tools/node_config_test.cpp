#include "tools/node_config.h"

#include <gtest/gtest.h>

#include "ltx/base/fs.h"
#include "tests/support/temp_dir.h"

namespace runnel::tools {
namespace {

// The file people start from, cut to what says nothing but where things are: what is left takes its defaults.
constexpr std::string_view kBareFile =
    "dbs:\n  - path: /var/lib/app/app.db\n    bus: nats://127.0.0.1:4222/app\n"
    "replicas:\n  - bus: nats://127.0.0.1:4222/app\n    path: /var/lib/replica/app.db\n";

class ShippedConfig : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<NodeSettings> shipped = LoadSettings(RUNNEL_CONFIGS "/runnel.yml");
    ASSERT_TRUE(shipped.ok()) << shipped.error().message();
    shipped_ = *shipped;
    std::string path = (dir_ / "runnel.yml").string();
    ASSERT_TRUE(WriteFileAtomically(path, AsBytes(kBareFile)).ok());
    Result<NodeSettings> bare = LoadSettings(path);
    ASSERT_TRUE(bare.ok()) << bare.error().message();
    bare_ = *bare;
    ASSERT_EQ(shipped_.publisher.databases.size(), 1u);
    ASSERT_EQ(shipped_.subscriber.replicas.size(), 1u);
  }

  testing::TempDir dir_;
  NodeSettings shipped_;
  NodeSettings bare_;
};

TEST_F(ShippedConfig, SaysTheDefaultsOfTheNode) {
  EXPECT_EQ(shipped_.http, bare_.http);
  EXPECT_EQ(shipped_.ready_lag, bare_.ready_lag);
  EXPECT_EQ(shipped_.publisher.node_name, bare_.publisher.node_name);
  EXPECT_EQ(shipped_.publisher.shutdown_timeout, bare_.publisher.shutdown_timeout);
}

TEST_F(ShippedConfig, SaysTheDefaultsOfADatabase) {
  const publisher::DatabaseConfig& shipped = shipped_.publisher.databases[0];
  const publisher::DatabaseConfig& bare = bare_.publisher.databases[0];
  EXPECT_EQ(shipped.name, "app");
  EXPECT_EQ(shipped.path, bare.path);
  EXPECT_EQ(shipped.durable, bare.durable);
  EXPECT_EQ(shipped.heartbeat_interval, bare.heartbeat_interval);
  EXPECT_EQ(shipped.coalesce_after, bare.coalesce_after);
  EXPECT_EQ(shipped.backlog_bytes_max, bare.backlog_bytes_max);
  EXPECT_EQ(shipped.capture.detect, bare.capture.detect);
  EXPECT_EQ(shipped.capture.checkpoint_frames, bare.capture.checkpoint_frames);
  EXPECT_EQ(shipped.capture.wal_limit_bytes, bare.capture.wal_limit_bytes);
  EXPECT_EQ(shipped.bus.replicas, bare.bus.replicas);
  EXPECT_EQ(shipped.bus.retention, bare.bus.retention);
  EXPECT_EQ(shipped.bus.connect_timeout, bare.bus.connect_timeout);
}

TEST_F(ShippedConfig, SaysTheDefaultsOfAReplica) {
  const subscriber::ReplicaConfig& shipped = shipped_.subscriber.replicas[0];
  const subscriber::ReplicaConfig& bare = bare_.subscriber.replicas[0];
  EXPECT_EQ(shipped.name, "app");
  EXPECT_EQ(shipped.replica.path, bare.replica.path);
  EXPECT_EQ(shipped.replica.sync, bare.replica.sync);
  EXPECT_EQ(shipped.replica.wal_limit_bytes, bare.replica.wal_limit_bytes);
  EXPECT_EQ(shipped.replica.pause_at_wal_limit, bare.replica.pause_at_wal_limit);
  EXPECT_EQ(shipped.scrub_interval, bare.scrub_interval);
}

}  // namespace
}  // namespace runnel::tools
