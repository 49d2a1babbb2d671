#include "subscriber/archive/store/url.h"

#include <string>

#include <gtest/gtest.h>

#include "subscriber/archive/store/open.h"

namespace runnel::store {
namespace {

TEST(StoreUrl, ReadsTheThreeForms) {
  EXPECT_EQ(ParseUrl("file:///srv/arch%20ive/db/")->directory, "/srv/arch ive/db");

  const Result<Url> s3 = ParseUrl("S3://my.bucket/a/b%2Bc/?endpoint=http%3A%2F%2F127.0.0.1:9000&region=eu-west-1");
  ASSERT_TRUE(s3.ok());
  EXPECT_EQ(s3->scheme, "s3");
  EXPECT_EQ(s3->bucket, "my.bucket");
  EXPECT_EQ(s3->prefix, "a/b+c");
  EXPECT_EQ(s3->query.at("endpoint"), "http://127.0.0.1:9000");
  EXPECT_EQ(s3->query.at("region"), "eu-west-1");
  EXPECT_EQ(ParseUrl("s3://bucket?endpoint=http://h")->query.at("endpoint"), "http://h");
  EXPECT_EQ(ParseUrl("s3://bucket/.")->prefix, ".") << "archives of Litestream without a path";

  const Result<Url> nats = ParseUrl("nats://u:p%40w@one:4222,two/ARCHIVE/dbs/app");
  ASSERT_TRUE(nats.ok());
  EXPECT_EQ(nats->bucket, "ARCHIVE");
  EXPECT_EQ(nats->prefix, "dbs/app");
  EXPECT_EQ(nats->user, "u");
  EXPECT_EQ(nats->password, "p@w");
  ASSERT_EQ(nats->hosts.size(), 2u);
  EXPECT_EQ(nats->hosts[1].host, "two");
  EXPECT_EQ(ParseUrl("tls://h/B")->prefix, "");
}

TEST(StoreUrl, RefusesWhatIsWrongAndRepeatsNoSecret) {
  for (const char* text : {"",
                           "/srv/dir",
                           "file://relative/dir",
                           "file:///",
                           "file:///a%zz",
                           "file:///a?b=c",
                           "s3://",
                           "s3://ab",
                           "s3://bucket/a//b",
                           "s3://bucket/../x",
                           "s3://bucket/a/./b",
                           "s3://bucket?secret=hush-hush",
                           "s3://KEY:hush-hush@bucket/x",
                           "s3://bucket?region=a&region=b",
                           "nats://h",
                           "nats://h/",
                           "nats://h/a.b",
                           "nats://u:hush-hush@/B",
                           "nats://h/B/a//b",
                           "nats://h/B?x=y",
                           "ftp://h/x",
                           "nats://h/B/%00"}) {
    const Result<Url> url = ParseUrl(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.code(), Errc::kInvalid) << text;
    EXPECT_EQ(url.error().message().find("hush"), std::string::npos) << url.error().message();
  }
  EXPECT_EQ(ParseUrl("gs://bucket/x").code(), Errc::kUnsupported);
  EXPECT_EQ(ParseUrl("s3://bucket/" + std::string(5000, 'a')).code(), Errc::kInvalid);
}

TEST(StoreUrl, IsRedactedForMessages) {
  EXPECT_EQ(RedactUrl("nats://u:hush@h:1/B/p"), "nats://h:1/B/p");
  EXPECT_EQ(RedactUrl("nats://u:hu@sh/x@h:1/B"), "nats://h:1/B");
  EXPECT_EQ(RedactUrl("s3://b/p?secret=hush&region=r&endpoint=http://h"), "s3://b/p?endpoint=http://h&region=r");
  EXPECT_EQ(RedactUrl("s3://b/p?endpoint=http://k:hush@h"), "s3://h") << "rather too little than a secret";
  EXPECT_EQ(RedactUrl("s3://KEY:hu?sh@b/p?region=r"), "s3://b/p");
  EXPECT_EQ(RedactUrl("file:///srv/dir"), "file:///srv/dir");
  EXPECT_EQ(RedactUrl("hush"), "(not a url)");
}

TEST(StoreUrl, OpensWithoutTalkingToAnybody) {
  StoreOptions options;
  options.credentials.access_key_id = "K";
  options.credentials.secret_access_key = "hush";
  const Result<std::unique_ptr<ObjectStore>> s3 = OpenStore("s3://bucket/p?endpoint=http://127.0.0.1:1", options);
  ASSERT_TRUE(s3.ok());
  EXPECT_EQ((*s3)->location(), "s3://bucket at http://127.0.0.1:1/p");
  EXPECT_FALSE(OpenStore("s3://bucket?endpoint=http://k:hush@h", options).ok());
  EXPECT_FALSE(OpenStore("s3://bucket?endpoint=http://", options).ok());
  EXPECT_FALSE(OpenStore("s3://bucket?path-style=yes", options).ok());
}

TEST(ObjectKey, KeepsToTheRules) {
  for (const char* key :
       {"a", "ltx/0/0000000000000001-0000000000000001.ltx", "a b+c=d%e\xc3\xa4.f", "...", "a/.b", "-", "~"}) {
    EXPECT_TRUE(CheckKey(key).ok()) << key;
  }
  for (const std::string& key :
       {std::string(), std::string("/"), std::string("/a"), std::string("a/"), std::string("a//b"), std::string("."),
        std::string("a/../b"), std::string("./a"), std::string("a\0b", 3), std::string(901, 'a')}) {
    EXPECT_EQ(CheckKey(key).code(), Errc::kInvalid) << key;
  }
}

TEST(ByteRange, IsClampedToTheObject) {
  const auto span = [](const ByteRange& range, uint64_t size) {
    const ByteRange::Span within = range.Within(size);
    return std::to_string(within.begin) + "-" + std::to_string(within.end);
  };
  EXPECT_EQ(span(ByteRange::All(), 10), "0-10");
  EXPECT_EQ(span(ByteRange::From(3), 10), "3-10");
  EXPECT_EQ(span(ByteRange::From(3, 4), 10), "3-7");
  EXPECT_EQ(span(ByteRange::From(3, UINT64_MAX - 1), 10), "3-10");
  EXPECT_EQ(span(ByteRange::From(10, 4), 10), "10-10");
  EXPECT_EQ(span(ByteRange::From(UINT64_MAX, 4), 10), "10-10");
  EXPECT_EQ(span(ByteRange::Last(4), 10), "6-10");
  EXPECT_EQ(span(ByteRange::Last(40), 10), "0-10");
  EXPECT_EQ(span(ByteRange::Last(4), 0), "0-0");
}

TEST(Timestamp, IsWrittenAsLitestreamWritesIt) {
  const auto text = [](int64_t us) { return FormatTimestamp(WallTime(std::chrono::microseconds(us))); };
  EXPECT_EQ(text(1700000000000000), "2023-11-14T22:13:20Z");
  EXPECT_EQ(text(1700000000268000), "2023-11-14T22:13:20.268Z");
  EXPECT_EQ(text(1700000000000001), "2023-11-14T22:13:20.000001Z");
  EXPECT_EQ(ParseTimestamp("2023-11-14T22:13:20.268123456Z"), WallTime(std::chrono::microseconds(1700000000268123)));
  EXPECT_FALSE(ParseTimestamp("yesterday").has_value());
}

}  // namespace
}  // namespace runnel::store
