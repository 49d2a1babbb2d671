#include "tools/node_config.h"

#include <gtest/gtest.h>

#include "ltx/base/fs.h"
#include "tests/support/temp_dir.h"

namespace runnel::tools {
namespace {

// The file people start from, cut to what says nothing but where things are: what is left takes its defaults.
constexpr std::string_view kBareFile =
    "dbs:\n  - path: /var/lib/app/app.db\n    bus: nats://127.0.0.1:4222/app\n"
    "replicas:\n  - bus: nats://127.0.0.1:4222/app\n    path: /var/lib/replica/app.db\n"
    "archives:\n  - bus: nats://127.0.0.1:4222/app\n    archive: file:///var/lib/runnel/archive/app\n";

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

TEST_F(ShippedConfig, SaysTheDefaultsOfAnArchive) {
  ASSERT_EQ(shipped_.archives.size(), 1u);
  ASSERT_EQ(bare_.archives.size(), 1u);
  const archive::ArchiveConfig& shipped = shipped_.archives[0];
  const archive::ArchiveConfig& bare = bare_.archives[0];
  EXPECT_EQ(shipped.name, "app");
  EXPECT_EQ(shipped.archive_url, bare.archive_url);
  EXPECT_EQ(shipped.segment_interval, bare.segment_interval);
  EXPECT_EQ(shipped.level_intervals, bare.level_intervals);
  EXPECT_EQ(shipped.snapshot_interval, bare.snapshot_interval);
  EXPECT_EQ(shipped.retention, bare.retention);
  EXPECT_EQ(shipped.segment_retention, bare.segment_retention);
  EXPECT_EQ(shipped.trim, bare.trim);
  EXPECT_EQ(shipped.bus.retention, bare.bus.retention);
}

Result<NodeSettings> LoadText(const std::string& text) {
  testing::TempDir dir;
  const std::string path = (dir / "runnel.yml").string();
  EXPECT_TRUE(WriteFileAtomically(path, AsBytes(text)).ok());
  return LoadSettings(path);
}

TEST(ArchiveKeys, StandAtDatabasesReplicasAndByThemselves) {
  Result<NodeSettings> settings = LoadText(
      "defaults:\n  retention: 48h\n  segment-interval: 2s\n"
      "dbs:\n  - path: /a.db\n    bus: file:///bus/a\n    archive: file:///archive/a\n    levels: [1s, 2s, 3s]\n"
      "replicas:\n  - bus: file:///bus/b\n    path: /b.db\n    archive: s3://bucket/b\n    trim-log: false\n"
      "archives:\n  - bus: file:///bus/c\n    archive: nats://host/BUCKET\n    segment-retention: 1h\n"
      "    archive-credentials:\n      user: me\n");
  ASSERT_TRUE(settings.ok()) << settings.error().message();
  ASSERT_EQ(settings->publisher_archives.size(), 1u);
  const archive::ArchiveConfig& a = settings->publisher_archives[0];
  EXPECT_EQ(a.name, "a");
  EXPECT_EQ(a.bus_url, "file:///bus/a");
  EXPECT_EQ(a.level_intervals[1], std::chrono::seconds(2));
  EXPECT_EQ(a.retention, std::chrono::hours(48));
  EXPECT_EQ(a.segment_retention, std::chrono::hours(48));
  ASSERT_EQ(settings->subscriber_archives.size(), 1u);
  EXPECT_FALSE(settings->subscriber_archives[0].trim);
  ASSERT_EQ(settings->archives.size(), 1u);
  EXPECT_EQ(settings->archives[0].segment_retention, std::chrono::hours(1));
  EXPECT_EQ(settings->archives[0].segment_interval, std::chrono::seconds(2));
  EXPECT_EQ(settings->archives[0].store.credentials.user, "me");
}

TEST(ArchiveKeys, LoginsServeWhateverNamesTheArchive) {
  Result<NodeSettings> settings = LoadText(
      "defaults:\n  archive-credentials:\n    access-key-id: shared\n  credentials:\n    user: everybody\n"
      "replicas:\n  - bus: nats://host/a\n    path: /a.db\n    credentials:\n      user: a\n"
      "archives:\n  - bus: nats://host/b\n    archive: s3://bucket/b\n"
      "    archive-credentials:\n      access-key-id: own\n");
  ASSERT_TRUE(settings.ok()) << settings.error().message();
  EXPECT_EQ(StoreOptionsFor(*settings, "s3://bucket/b").credentials.access_key_id, "own");
  EXPECT_EQ(StoreOptionsFor(*settings, "s3://bucket/other").credentials.access_key_id, "shared");
  EXPECT_EQ(BusOptionsFor(*settings, "nats://host/a").credentials.user, "a");
  EXPECT_EQ(BusOptionsFor(*settings, "nats://host/other").credentials.user, "everybody");
  // A replica without `archive:` may meet one that its log names.
  EXPECT_EQ(settings->subscriber.replicas[0].store.credentials.access_key_id, "shared");
  Result<subscriber::ReplicaConfig> replica = ReplicaFor(*settings, "nats://host/new", "/new.db");
  ASSERT_TRUE(replica.ok());
  EXPECT_EQ(replica->store.credentials.access_key_id, "shared");
}

TEST(LogRetention, IsInWholeHours) {
  const std::string entry = "replicas:\n  - bus: file:///bus/a\n    path: /a.db\n    log-retention: ";
  for (const auto& [text, hours] : {std::pair<std::string, int>{"0h", 0}, {"90m", -1}, {"30m", -1}, {"120m", 2}}) {
    Result<NodeSettings> settings = LoadText(entry + text + "\n");
    ASSERT_EQ(settings.ok(), hours >= 0) << text;
    if (!settings.ok()) {
      EXPECT_NE(settings.error().message().find("whole hours"), std::string::npos) << settings.error().message();
    } else {
      EXPECT_EQ(settings->subscriber.replicas[0].bus.retention, std::chrono::hours(hours)) << text;
    }
  }
}

TEST(ArchiveKeys, AreRefusedWithWhatIsWrong) {
  const std::string entry = "archives:\n  - bus: file:///bus/c\n    archive: ";
  for (const auto& [text, hint] : {std::pair<std::string, std::string>{entry + "ftp://x\n", "archive"},
                                   {entry + "file:///a\n    levels: [5m, 1m, 1h]\n", "longer"},
                                   {entry + "file:///a\n    levels: [5m]\n", "three"},
                                   {entry + "file:///a\n    segments: 1\n", "segments"},
                                   {"archives:\n  - bus: file:///bus/c\n", "archive"}}) {
    Result<NodeSettings> settings = LoadText(text);
    ASSERT_FALSE(settings.ok()) << text;
    EXPECT_EQ(settings.code(), Errc::kInvalid);
    EXPECT_NE(settings.error().message().find(hint), std::string::npos) << settings.error().message();
  }
}

}  // namespace
}  // namespace runnel::tools
