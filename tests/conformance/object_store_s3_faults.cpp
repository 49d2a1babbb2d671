// What networks, clocks and overloaded services do to S3 requests, against a real server behind a proxy that does it on
// demand.
#include <string>

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "subscriber/archive/store/s3_store.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/peers.h"
#include "tests/support/s3_server.h"

namespace runnel::store {
namespace {

using testing::FaultProxy;
using testing::S3Kind;
using testing::S3Server;
using Kind = FaultProxy::Fault::Kind;

constexpr const char* kBucket = "archive";

std::string Content(size_t size) {
  std::string content(size, '\0');
  for (size_t i = 0; i < size; ++i) content[i] = static_cast<char>(i * 31 + (i >> 13));
  return content;
}

class ShiftedClock : public Clock {
 public:
  WallTime Wall() const override { return SystemClock().Wall() + std::chrono::hours(1); }
  SteadyTime Now() const override { return SystemClock().Now(); }
};

class S3Faults : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!testing::RequirePeer(FindS3Server(S3Kind::kVersitygw), "tools/peers/get.sh versitygw")) return;
    Result<std::unique_ptr<S3Server>> server = S3Server::Start(S3Kind::kVersitygw);
    ASSERT_TRUE(server.ok()) << server.error().message();
    server_ = *std::move(server);
    ASSERT_TRUE(server_->MakeBucket(kBucket).ok());
    proxy_ = *FaultProxy::Start(server_->port());
    store_ = OpenS3Store(Options());
  }

  S3Options Options() const {
    S3Options options;
    options.bucket = kBucket;
    options.endpoint = fmt::format("http://127.0.0.1:{}", proxy_->port());
    options.path_style = true;
    options.credentials = {S3Server::kAccessKeyId, S3Server::kSecretAccessKey, ""};
    options.retry.first = std::chrono::milliseconds(1);
    options.retry.longest = std::chrono::milliseconds(20);
    options.timeout = std::chrono::seconds(5);
    options.part_bytes = 5 << 20;
    return options;
  }

  std::unique_ptr<S3Server> server_;
  std::unique_ptr<FaultProxy> proxy_;
  std::unique_ptr<ObjectStore> store_;
};

TEST_F(S3Faults, ServerErrorsAreRetried) {
  for (const auto& [status, code] :
       {std::pair{500, "InternalError"}, std::pair{503, "SlowDown"}, std::pair{429, "TooMany"}}) {
    proxy_->Add({.kind = Kind::kAnswer, .match = "PUT ", .count = 2, .answer = FaultProxy::S3Answer(status, code)});
    proxy_->Add({.kind = Kind::kAnswer, .match = "GET ", .count = 2, .answer = FaultProxy::S3Answer(status, code)});
  }
  const Result<std::string> put = store_->Put("x", AsBytes("content"));
  ASSERT_TRUE(put.ok()) << put.error().message();
  EXPECT_EQ(store_->GetAll("x", 100).value_or("none"), "content");
  EXPECT_EQ(proxy_->hit_count(), 12);
}

TEST_F(S3Faults, GivesUpWithASentenceWhenTheServerStaysOverloaded) {
  proxy_->Add({.kind = Kind::kAnswer, .count = 1000, .answer = FaultProxy::S3Answer(503, "SlowDown")});
  const Result<std::string> put = store_->Put("some/key", AsBytes("x"));
  ASSERT_EQ(put.code(), Errc::kUnavailable);
  for (const char* part : {"archive", "some/key", "503", "SlowDown"}) {
    EXPECT_NE(put.error().message().find(part), std::string::npos) << put.error().message();
  }
  EXPECT_EQ(put.error().message().find(S3Server::kSecretAccessKey), std::string::npos);
  EXPECT_EQ(proxy_->request_count(), 8);
}

TEST_F(S3Faults, ACutGetGoesOnWhereItStopped) {
  const std::string content = Content(3 << 20);
  ASSERT_TRUE(store_->Put("x", AsBytes(content)).ok());
  for (int i = 0; i < 12; ++i) proxy_->Add({.kind = Kind::kCutAnswer, .match = "GET ", .bytes = 200000});
  const Result<std::string> got = store_->GetAll("x", content.size());
  ASSERT_TRUE(got.ok()) << got.error().message();
  EXPECT_TRUE(*got == content);
  EXPECT_EQ(proxy_->hit_count(), 12);  // more cuts than attempts: progress counts
}

TEST_F(S3Faults, ACutRangeGoesOnWhereItStopped) {
  const std::string content = Content(3 << 20);
  ASSERT_TRUE(store_->Put("x", AsBytes(content)).ok());
  proxy_->Add({.kind = Kind::kCutAnswer, .match = "GET ", .bytes = 100000});
  std::string got;
  ASSERT_TRUE(store_
                  ->Get("x", ByteRange::Last(500000),
                        [&](Bytes piece) {
                          got.append(AsText(piece));
                          return Ok();
                        })
                  .ok());
  EXPECT_TRUE(got == content.substr(content.size() - 500000));
}

TEST_F(S3Faults, ACutGetDoesNotGoOnWithAnotherVersion) {
  const std::string content = Content(3 << 20);
  ASSERT_TRUE(store_->Put("x", AsBytes(content)).ok());
  proxy_->Add({.kind = Kind::kCutAnswer, .match = "GET ", .bytes = 200000});
  const std::unique_ptr<ObjectStore> other = OpenS3Store(Options());
  bool replaced = false;
  const Result<ObjectInfo> got = store_->Get("x", ByteRange::All(), [&](Bytes) {
    const bool put = replaced || other->Put("x", AsBytes(std::string(3 << 20, 'z'))).ok();
    EXPECT_TRUE(put);
    replaced = true;
    return Ok();
  });
  ASSERT_EQ(got.code(), Errc::kUnavailable);
  EXPECT_NE(got.error().message().find("replaced while it was read"), std::string::npos) << got.error().message();
}

TEST_F(S3Faults, ACutPutIsSentAgain) {
  const std::string content = Content(1 << 20);
  proxy_->Add({.kind = Kind::kCutRequest, .match = "PUT ", .count = 2, .bytes = 300000});
  const Result<std::string> put = store_->Put("x", AsBytes(content));
  ASSERT_TRUE(put.ok()) << put.error().message();
  EXPECT_TRUE(*store_->GetAll("x", content.size()) == content);
}

TEST_F(S3Faults, AConditionalPutKnowsItsOwnObjectWhenTheAnswerWasLost) {
  proxy_->Add({.kind = Kind::kLoseAnswer, .match = "PUT "});
  const Result<std::string> won = store_->PutIfAbsent("lease", AsBytes("mine"));
  ASSERT_TRUE(won.ok()) << won.error().message();
  EXPECT_EQ(*won, store_->Head("lease")->version);

  proxy_->Add({.kind = Kind::kLoseAnswer, .match = "PUT "});
  const Result<std::string> renewed =
      store_->Put("lease", AsBytes("again"), {.condition = WriteCondition::IfVersion(*won)});
  ASSERT_TRUE(renewed.ok()) << renewed.error().message();
  EXPECT_EQ(*store_->GetAll("lease", 10), "again");

  proxy_->Add({.kind = Kind::kCutRequest, .match = "PUT ", .bytes = 10});
  EXPECT_EQ(store_->PutIfAbsent("lease", AsBytes("theirs")).code(), Errc::kConflict);
}

TEST_F(S3Faults, AnUploadInPartsSurvivesCutsAndALostLastAnswer) {
  const std::string content = Content(12 << 20);
  proxy_->Add({.kind = Kind::kCutRequest, .match = "partNumber=2", .bytes = 1000000});
  proxy_->Add({.kind = Kind::kAnswer, .match = "partNumber=3", .answer = FaultProxy::S3Answer(500, "InternalError")});
  proxy_->Add({.kind = Kind::kLoseAnswer, .match = "POST /archive/x?uploadId="});
  const Result<std::string> put = store_->Put("x", AsBytes(content));
  ASSERT_TRUE(put.ok()) << put.error().message();
  EXPECT_EQ(proxy_->hit_count(), 3);
  EXPECT_TRUE(*store_->GetAll("x", content.size()) == content);
}

TEST_F(S3Faults, AnErrorUnderStatus200EndsNoUploadWell) {
  const std::string content = Content(6 << 20);
  std::string answer = FaultProxy::S3Answer(200, "InternalError");
  proxy_->Add({.kind = Kind::kAnswer, .match = "POST /archive/x?uploadId=", .count = 2, .answer = answer});
  const Result<std::string> put = store_->Put("x", AsBytes(content));
  ASSERT_TRUE(put.ok()) << put.error().message();
  EXPECT_EQ(proxy_->hit_count(), 2);
  EXPECT_EQ(store_->Head("x")->size, content.size());
}

TEST_F(S3Faults, AKilledServerIsWaitedForInTheMiddleOfAGet) {
  const std::string content = Content(8 << 20);
  ASSERT_TRUE(store_->Put("x", AsBytes(content)).ok());
  S3Options options = Options();
  options.endpoint = server_->endpoint();
  options.retry.longest = std::chrono::milliseconds(500);
  const std::unique_ptr<ObjectStore> direct = OpenS3Store(options);
  std::string got;
  bool killed = false;
  const Result<ObjectInfo> info = direct->Get("x", ByteRange::All(), [&](Bytes piece) {
    got.append(AsText(piece));
    if (!killed) {
      server_->Kill9();
      EXPECT_TRUE(server_->Restart().ok());
    }
    killed = true;
    return Ok();
  });
  ASSERT_TRUE(info.ok()) << info.error().message();
  EXPECT_TRUE(got == content);
}

TEST_F(S3Faults, ADeadServerIsAnErrorWithItsAddress) {
  server_->Kill9();
  S3Options options = Options();
  options.endpoint = server_->endpoint();
  options.retry.attempts_max = 2;
  const Result<ObjectInfo> head = OpenS3Store(options)->Head("x");
  ASSERT_EQ(head.code(), Errc::kUnavailable);
  EXPECT_NE(head.error().message().find(server_->endpoint()), std::string::npos) << head.error().message();
}

TEST_F(S3Faults, ASilentServerIsNotWaitedForWithoutEnd) {
  S3Options options = Options();
  options.timeout = std::chrono::seconds(1);
  options.retry.attempts_max = 1;
  proxy_->Add({.kind = Kind::kDelay, .delay = std::chrono::seconds(30)});
  const SteadyTime begin = std::chrono::steady_clock::now();
  EXPECT_EQ(OpenS3Store(options)->Head("x").code(), Errc::kUnavailable);
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(10));
}

TEST_F(S3Faults, AMissingBucketIsNamed) {
  S3Options options = Options();
  options.bucket = "nobody-made-this";
  const std::unique_ptr<ObjectStore> store = OpenS3Store(options);
  for (const Error& error : {store->Head("x").error(), store->GetAll("x", 1).error(), store->List({}).error(),
                             store->Put("x", AsBytes("x")).error(), store->Delete("x").error()}) {
    EXPECT_EQ(error.code(), Errc::kInvalid) << error.message();
    EXPECT_NE(error.message().find("nobody-made-this"), std::string::npos) << error.message();
  }
}

TEST_F(S3Faults, AWrongClockIsCalledByItsName) {
  const ShiftedClock clock;
  S3Options options = Options();
  options.clock = &clock;
  const Result<std::string> put = OpenS3Store(options)->Put("x", AsBytes("x"));
  ASSERT_EQ(put.code(), Errc::kUnavailable);
  EXPECT_NE(put.error().message().find("clocks"), std::string::npos) << put.error().message();
  EXPECT_NE(put.error().message().find("ours is ahead"), std::string::npos) << put.error().message();
}

TEST_F(S3Faults, AWrongRegionIsAnsweredWithTheRightOne) {
  const std::string body =
      "<Error><Code>AuthorizationHeaderMalformed</Code><Message>wrong</Message><Region>eu-west-1</Region></Error>";
  proxy_->Add({.answer = fmt::format("HTTP/1.1 400 Bad\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}",
                                     body.size(), body)});
  const Result<std::string> put = store_->Put("x", AsBytes("x"));
  ASSERT_EQ(put.code(), Errc::kInvalid);
  EXPECT_NE(put.error().message().find("set region=eu-west-1"), std::string::npos) << put.error().message();
}

TEST_F(S3Faults, AnAnswerThatIsNoS3IsRefused) {
  proxy_->Add(
      {.count = 100, .answer = "HTTP/1.1 200 OK\r\nContent-Length: 12\r\nConnection: close\r\n\r\n<html></html"});
  EXPECT_EQ(store_->List({}).code(), Errc::kUnavailable);
}

}  // namespace
}  // namespace runnel::store
