#include "bus/url.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bus/open.h"

namespace runnel::bus {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Url, FileHasDirectoryNameAndQuery) {
  Result<Url> url = ParseUrl("file:///var/lib/my%20logs/orders?sync=none&segment_bytes=65536");
  ASSERT_TRUE(url.ok()) << url.error().message();
  EXPECT_EQ(url->scheme, "file");
  EXPECT_EQ(url->directory, "/var/lib/my logs");
  EXPECT_EQ(url->name, "orders");
  EXPECT_TRUE(url->hosts.empty());
  EXPECT_EQ(url->query.at("sync"), "none");
  EXPECT_EQ(url->query.at("segment_bytes"), "65536");
}

TEST(Url, FileInTheRootHasAnEmptyDirectory) {
  Result<Url> url = ParseUrl("file:///orders");
  ASSERT_TRUE(url.ok()) << url.error().message();
  EXPECT_EQ(url->directory, "");
  EXPECT_EQ(url->name, "orders");
}

TEST(Url, NatsHasUserPasswordAndSeveralHosts) {
  Result<Url> url = ParseUrl("NATS://me:p%40ss%3A%2Fword@one.example:4333,two,[::1]:5,[fe80::1]/App_1-x");
  ASSERT_TRUE(url.ok()) << url.error().message();
  EXPECT_EQ(url->scheme, "nats");
  EXPECT_EQ(url->user, "me");
  EXPECT_EQ(url->password, "p@ss:/word");
  ASSERT_EQ(url->hosts.size(), 4u);
  EXPECT_EQ(ToString(url->hosts[0], 4222), "one.example:4333");
  EXPECT_EQ(ToString(url->hosts[1], 4222), "two:4222");
  EXPECT_EQ(ToString(url->hosts[2], 4222), "[::1]:5");
  EXPECT_EQ(ToString(url->hosts[3], 4222), "[fe80::1]:4222");
  EXPECT_EQ(url->name, "App_1-x");
}

TEST(Url, UserMayStandWithoutPassword) {
  Result<Url> url = ParseUrl("tls://token@host/db");
  ASSERT_TRUE(url.ok()) << url.error().message();
  EXPECT_EQ(url->user, "token");
  EXPECT_EQ(url->password, "");
}

TEST(Url, RefusesWhatIsNotOneWithoutRepeatingSecrets) {
  const char* bad[] = {
      "",
      "orders",
      "/var/orders",
      "file://relative/orders",
      "file:///dir/",
      "file:///dir/na me",
      "file:///dir/a.b",
      "file:///%zz/a",
      "file:///a%00b/c",
      "nats://host",
      "nats://host/",
      "nats:///db",
      "nats://me:hunter2@/db",
      "nats://me:hunter2@host:0/db",
      "nats://me:hunter2@host:65536/db",
      "nats://me:hunter2@host:4222x/db",
      "nats://me:hunter2@host/a/b",
      "nats://me:hunter2@one,,two/db",
      "nats://me:hunter2@[::1/db",
      "nats://me:hunter2%@host/db",
      "http://me:hunter2@host/db",
      "nats://host/db?a=1&a=2",
      "nats://host/db?=1",
      "nats://me:hunter2/x@host/db",
      "nats://host/01234567890123456789012345678901234567890123456789012345678901234",  // 65 characters
  };
  for (const char* text : bad) {
    Result<Url> url = ParseUrl(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.code(), Errc::kInvalid) << text;
    EXPECT_THAT(url.error().message(), Not(HasSubstr("hunter2"))) << text;
  }
}

TEST(Url, RedactedUrlHasNoSecrets) {
  EXPECT_EQ(RedactUrl("nats://me:secret@host:1,two/db?token=secret"), "nats://host:1,two/db");
  EXPECT_EQ(RedactUrl("nats://host/db"), "nats://host/db");
  EXPECT_EQ(RedactUrl("file:///a@b/db"), "file:///a@b/db");
  // Passwords whose special characters were not encoded.
  EXPECT_EQ(RedactUrl("nats://me:se/cr@et@host/db"), "nats://host/db");
  EXPECT_EQ(RedactUrl("nats://me:se?cret@host/db"), "nats://host/db");
  EXPECT_EQ(RedactUrl("me:secret@host"), "(not a url)");
}

TEST(Open, NamesTheAdapterThatIsMissingOrTheUrlThatIsWrong) {
  Result<std::unique_ptr<Log>> log = OpenLog("nats://u:hunter2@/x", {});
  ASSERT_FALSE(log.ok());
  EXPECT_EQ(log.code(), Errc::kInvalid);
}

}  // namespace
}  // namespace runnel::bus
