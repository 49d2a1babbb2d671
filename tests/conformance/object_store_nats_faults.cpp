// Buckets as other clients write them, damaged ones, and servers that go away in the middle.
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "subscriber/archive/store/nats_bucket.h"
#include "subscriber/archive/store/nats_store.h"
#include "tests/support/nats_admin.h"
#include "tests/support/nats_server.h"
#include "tests/support/peers.h"

namespace runnel::store {
namespace {

using testing::NatsAdmin;
using testing::NatsServer;

std::string Content(size_t size) {
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 31 + (i >> 13));
  return content;
}

class NatsFaults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::RequirePeer(testing::DebianNatsServer(), "nats-server")) return;
    Result<std::unique_ptr<NatsServer>> server = NatsServer::Start({});
    ASSERT_TRUE(server.ok()) << server.error().message();
    server_ = *std::move(server);
    admin_ = std::make_unique<NatsAdmin>(server_->port());
    store_ = OpenNatsStore(Options());
  }

  NatsStoreOptions Options() const {
    NatsStoreOptions options;
    options.bucket = bucket_.name;
    options.endpoint.servers = {bus::HostPort{"127.0.0.1", server_->port()}};
    options.endpoint.timeout = std::chrono::seconds(5);
    options.retry.first = std::chrono::milliseconds(10);
    options.retry.longest = std::chrono::milliseconds(500);
    return options;
  }

  // As nats.go writes what an io.Pipe gives it: a message for every write, of any size.
  void PutByHand(const std::string& key, const std::vector<std::string>& chunks, const std::string& digest,
                 uint64_t size) {
    ASSERT_TRUE(store_->Put("make-the-bucket", AsBytes("x")).ok());
    for (const std::string& chunk : chunks) ASSERT_TRUE(admin_->Publish("$O.B.C.HANDMADE", chunk).ok());
    const std::string meta = fmt::format(
        R"({{"name":"{}","headers":{{"Litestream-Timestamp":["2026-01-02T03:04:05.678Z"]}},)"
        R"("options":{{"max_chunk_size":131072}},)"
        R"("bucket":"B","nuid":"HANDMADE","size":{},"mtime":"0001-01-01T00:00:00Z","chunks":{},"digest":"{}"}})",
        key, size, chunks.size(), digest);
    ASSERT_TRUE(admin_->Publish(bucket_.MetaSubject(key), meta).ok());
  }

  const NatsBucket bucket_{"B"};
  std::unique_ptr<NatsServer> server_;
  std::unique_ptr<NatsAdmin> admin_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(NatsFaults, ReadsObjectsWhoseChunksHaveAnySize) {
  std::vector<std::string> chunks;
  std::string content;
  const std::string source = Content(3 << 20);
  for (size_t at = 0, size = 1; at < source.size(); at += size, size = size * 7 % 50021 + 1) {
    chunks.push_back(source.substr(at, size));
    content += chunks.back();
  }
  PutByHand("ltx/0/x.ltx", chunks, "", content.size());
  EXPECT_TRUE(*store_->GetAll("ltx/0/x.ltx", content.size()) == content);
  const Result<ObjectInfo> info = store_->Head("ltx/0/x.ltx");
  ASSERT_TRUE(info.ok());
  EXPECT_EQ(FormatTimestamp(*info->timestamp), "2026-01-02T03:04:05.678Z");
  for (const uint64_t offset : {uint64_t{0}, uint64_t{1}, uint64_t{1500000}, uint64_t{2999999}, content.size() - 5}) {
    std::string buffer(1000, '\0');
    const Result<size_t> got =
        store_->GetAt("ltx/0/x.ltx", offset, MutableBytes(reinterpret_cast<std::byte*>(buffer.data()), buffer.size()));
    ASSERT_TRUE(got.ok()) << got.error().message();
    EXPECT_EQ(buffer.substr(0, *got), content.substr(offset, 1000)) << offset;
  }
}

TEST_F(NatsFaults, WritesDescriptionsThatOtherClientsRead) {
  ASSERT_TRUE(
      store_->Put("a/b", AsBytes("hello"), {.timestamp = WallTime(std::chrono::microseconds(1700000000268000))}).ok());
  const Result<std::string> message =
      admin_->Api("STREAM.MSG.GET.OBJ_B", R"({"last_by_subj":"$O.B.M.YS9i"})");  // base64url("a/b")
  ASSERT_TRUE(message.ok()) << message.error().message();
  const Result<std::string> info = admin_->Api("STREAM.INFO.OBJ_B");
  for (const char* part : {R"("$O.B.C.\u003e","$O.B.M.\u003e")", R"("discard":"new")", R"("allow_rollup_hdrs":true)",
                           R"("storage":"file")", R"("allow_direct":true)", R"("max_msgs_per_subject":-1)"}) {
    EXPECT_NE(info->find(part), std::string::npos) << part << " in " << *info;
  }
}

TEST(NatsObjectText, HasTheMembersOfAdr20) {
  NatsObject object;
  object.key = "ltx/0/x.ltx";
  object.nuid = "NUID";
  object.size = 5;
  object.chunk_count = 1;
  object.chunk_bytes_max = 131072;
  object.digest = DigestText(AsBytes(FromHex("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")));
  object.timestamp = WallTime(std::chrono::microseconds(1700000000268000));
  const std::string text = RenderNatsObject({"B"}, object);
  EXPECT_EQ(text, R"({"bucket":"B","chunks":1,"digest":"SHA-256=LPJNul-wow4m6DsqxbninhsWHlwfp0JecwQzYpOLmCQ=",)"
                  R"("headers":{"Litestream-Timestamp":["2023-11-14T22:13:20.268Z"]},"mtime":"0001-01-01T00:00:00Z",)"
                  R"("name":"ltx/0/x.ltx","nuid":"NUID","options":{"max_chunk_size":131072},"size":5})");
  const std::optional<NatsObject> back = ParseNatsObject(text, 7, WallTime());
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->seq, 7u);
  EXPECT_EQ(back->digest, object.digest);
  EXPECT_EQ(back->timestamp, object.timestamp);
  for (size_t size = 0; size < text.size(); ++size)
    EXPECT_FALSE(ParseNatsObject(text.substr(0, size), 7, WallTime()).has_value());
  for (size_t bit = 0; bit < text.size() * 8; ++bit) {
    std::string damaged = text;
    damaged[bit / 8] = static_cast<char>(damaged[bit / 8] ^ (1 << bit % 8));
    ParseNatsObject(damaged, 7, WallTime());
  }
}

TEST(NatsObjectText, RefusesNamesThatWouldReachOtherSubjects) {
  for (const char* nuid : {"", "a.b", "*", ">", "a b"}) {
    EXPECT_FALSE(ParseNatsObject(fmt::format(R"({{"name":"x","nuid":"{}","size":1,"chunks":1}})", nuid), 1, WallTime())
                     .has_value())
        << nuid;
  }
  EXPECT_FALSE(ParseNatsObject(R"({"name":"x","nuid":"n","size":-1,"chunks":1})", 1, WallTime()).has_value());
  EXPECT_FALSE(ParseNatsObject(R"({"name":7,"nuid":"n","size":1,"chunks":1})", 1, WallTime()).has_value());
}

TEST_F(NatsFaults, FindsDamagedObjects) {
  PutByHand("wrong-digest", {"hello"}, "SHA-256=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", 5);
  EXPECT_EQ(store_->GetAll("wrong-digest", 100).code(), Errc::kCorrupt);
  PutByHand("too-short", {}, "", 11);
  EXPECT_EQ(store_->GetAll("too-short", 100).code(), Errc::kCorrupt);
  PutByHand("too-long", {}, "", 3);
  EXPECT_EQ(store_->GetAll("too-long", 100).code(), Errc::kCorrupt);
  ASSERT_TRUE(admin_->Publish(bucket_.MetaSubject("nonsense"), "not json").ok());
  EXPECT_EQ(store_->Head("nonsense").code(), Errc::kCorrupt);
  EXPECT_TRUE(store_->List({}).ok()) << "one bad description does not hide the others";
}

TEST_F(NatsFaults, ARestartedServerIsWaitedForInTheMiddleOfAGet) {
  const std::string content = Content(20 << 20);
  ASSERT_TRUE(store_->Put("x", AsBytes(content)).ok());
  NatsStoreOptions options = Options();
  options.inflight_bytes_max = 1 << 20;
  const std::unique_ptr<ObjectStore> store = OpenNatsStore(options);
  std::string got;
  bool stopped = false;
  const Result<ObjectInfo> info = store->Get("x", ByteRange::All(), [&](Bytes piece) {
    got.append(AsText(piece));
    if (!stopped && got.size() > 5 << 20) {
      stopped = true;
      server_->Stop();
      EXPECT_TRUE(server_->Restart().ok());
    }
    return Ok();
  });
  ASSERT_TRUE(info.ok()) << info.error().message();
  EXPECT_TRUE(got == content);
}

TEST_F(NatsFaults, APutThatLosesItsServerEndsWithASentenceAndShowsNothing) {
  ASSERT_TRUE(store_->Put("x", AsBytes("old")).ok());
  Result<std::unique_ptr<ObjectWriter>> writer = store_->StartPut("x", {});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Write(AsBytes(Content(1 << 20))).ok());
  server_->Kill9();
  Status written = Ok();
  for (int i = 0; i < 100 && written.ok(); ++i) written = (*writer)->Write(AsBytes(Content(1 << 20)));
  ASSERT_FALSE(written.ok());
  EXPECT_EQ(written.code(), Errc::kUnavailable);
  EXPECT_NE(written.error().message().find("put x"), std::string::npos) << written.error().message();
  writer->reset();
  ASSERT_TRUE(server_->Restart().ok());
  EXPECT_EQ(*store_->GetAll("x", 100), "old");
  ASSERT_TRUE(store_->Put("x", AsBytes("new")).ok());
  EXPECT_EQ(*store_->GetAll("x", 100), "new");
}

TEST_F(NatsFaults, ACommitSurvivesARestartOfTheServer) {
  const std::string content = Content(1 << 20);
  Result<std::unique_ptr<ObjectWriter>> writer = store_->StartPut("x", {.condition = WriteCondition::IfAbsent()});
  ASSERT_TRUE(writer.ok());
  ASSERT_TRUE((*writer)->Write(AsBytes(content)).ok());
  // All chunks are acknowledged before the server goes: asked for by a request on another connection behind them.
  while (true) {
    const Result<std::string> info = admin_->Api("STREAM.INFO.OBJ_B");
    ASSERT_TRUE(info.ok());
    if (info->find("\"messages\":8,") != std::string::npos) break;
  }
  server_->Stop();
  ASSERT_TRUE(server_->Restart().ok());
  const Result<std::string> version = (*writer)->Commit();
  // The acknowledgements may have died with the connection: then it says so, and a new put works.
  if (!version.ok()) {
    EXPECT_EQ(version.code(), Errc::kUnavailable) << version.error().message();
    ASSERT_TRUE(store_->PutIfAbsent("x", AsBytes(content)).ok());
  }
  EXPECT_TRUE(*store_->GetAll("x", content.size()) == content);
}

TEST_F(NatsFaults, ADeadServerIsAnErrorWithItsAddress) {
  server_->Kill9();
  NatsStoreOptions options = Options();
  options.retry.attempts_max = 2;
  const Result<ObjectInfo> head = OpenNatsStore(options)->Head("x");
  ASSERT_EQ(head.code(), Errc::kUnavailable);
  EXPECT_NE(head.error().message().find(server_->hosts()), std::string::npos) << head.error().message();
}

TEST_F(NatsFaults, ABucketThatIsNotThereIsEmptyUntilTheFirstPut) {
  EXPECT_EQ(store_->Head("x").code(), Errc::kNotFound);
  EXPECT_EQ(store_->GetAll("x", 10).code(), Errc::kNotFound);
  EXPECT_TRUE(store_->Delete("x").ok());
  const Result<ListPage> page = store_->List({});
  ASSERT_TRUE(page.ok()) << page.error().message();
  EXPECT_TRUE(page->objects.empty());
  EXPECT_FALSE(admin_->Api("STREAM.INFO.OBJ_B").ok());
  ASSERT_TRUE(store_->Put("x", AsBytes("x")).ok());
  EXPECT_TRUE(admin_->Api("STREAM.INFO.OBJ_B").ok());
}

}  // namespace
}  // namespace runnel::store
