// Which credentials an archive gets that only a log names.
#include "subscriber/reference.h"

#include <gtest/gtest.h>

namespace runnel::subscriber {
namespace {

store::StoreOptions Configured() {
  store::StoreOptions options;
  options.credentials.access_key_id = "key";
  options.credentials.secret_access_key = "secret";
  options.credentials.user = "archive";
  options.credentials.password = "hush";
  options.credentials.token = "token";
  return options;
}

TEST(Reference, PasswordsGoOnlyToTheHostsOfTheLog) {
  const struct {
    const char* url;
    const char* bus;
    bool trusted;
  } cases[] = {
      {"nats://a/ARCHIVE", "nats://a/app", true},      {"nats://a/ARCHIVE/prefix", "nats://u:p@a,b/app", true},
      {"nats://b,a/ARCHIVE", "nats://a,b/app", true},  {"nats://a:4223/ARCHIVE", "nats://a/app", false},
      {"nats://evil/ARCHIVE", "nats://a/app", false},  {"nats://a,evil/ARCHIVE", "nats://a/app", false},
      {"nats://a/ARCHIVE", "tls://a/app", false},  // what went encrypted must not go in the open
      {"nats://a/ARCHIVE", "file:///logs/app", false}, {"nats://a/ARCHIVE", "kafka://a/app", false},
  };
  for (const auto& c : cases) {
    const store::StoreCredentials got = OptionsForReference(c.url, c.bus, {}, Configured()).credentials;
    EXPECT_EQ(got.password, c.trusted ? "hush" : "") << c.url << " " << c.bus;
    EXPECT_EQ(got.token, c.trusted ? "token" : "") << c.url << " " << c.bus;
    EXPECT_EQ(got.user, c.trusted ? "archive" : "") << c.url << " " << c.bus;
  }
}

TEST(Reference, KeysOfS3AreUsed) {
  const store::StoreOptions options =
      OptionsForReference("s3://bucket/app?endpoint=http://h:9000", "nats://a/app", {}, Configured());
  EXPECT_EQ(options.credentials.access_key_id, "key");
  EXPECT_EQ(options.credentials.secret_access_key, "secret");
}

TEST(Reference, LoginOfTheLogServesAnArchiveOnTheSameServer) {
  bus::OpenOptions bus;
  bus.credentials.user = "app";
  bus.credentials.password = "own";
  EXPECT_EQ(OptionsForReference("nats://a/ARCHIVE", "nats://a/app", bus, {}).credentials.password, "own");
  EXPECT_EQ(OptionsForReference("nats://a/ARCHIVE", "nats://u:p@a/app", bus, {}).credentials.password, "p");
  EXPECT_EQ(OptionsForReference("nats://b/ARCHIVE", "nats://u:p@a/app", bus, {}).credentials.password, "");
}

}  // namespace
}  // namespace runnel::subscriber
