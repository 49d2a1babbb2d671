#include "bus/kafka/endpoint.h"

#include <gtest/gtest.h>

namespace runnel::bus::kafka {
namespace {

Result<Endpoint> Make(const std::string& text, const OpenOptions& options = {}) {
  TRY_ASSIGN(const Url url, ParseUrl(text));
  return MakeEndpoint(url, options);
}

std::string Property(const Result<Endpoint>& endpoint, const std::string& key) {
  if (!endpoint.ok()) return "error: " + endpoint.error().message();
  const auto found = endpoint->properties.find(key);
  return found == endpoint->properties.end() ? "" : found->second;
}

TEST(KafkaEndpoint, NamesBrokersAndTopic) {
  const Result<Endpoint> endpoint = Make("kafka://a:1,b,[::1]:3/app");
  ASSERT_TRUE(endpoint.ok()) << endpoint.error().message();
  EXPECT_EQ(endpoint->brokers, "a:1,b:9092,[::1]:3");
  EXPECT_EQ(endpoint->topic, "runnel.app");
  EXPECT_EQ(endpoint->fencing, Fencing::kMarker);
  EXPECT_EQ(Property(endpoint, "security.protocol"), "plaintext");
}

TEST(KafkaEndpoint, SendsAPasswordInTheClearOnlyWhenTold) {
  const Result<Endpoint> quiet = Make("kafka://u:p%40ss@a/app");
  EXPECT_EQ(Property(quiet, "security.protocol"), "sasl_ssl");
  EXPECT_EQ(Property(quiet, "sasl.mechanism"), "PLAIN");
  EXPECT_EQ(Property(quiet, "sasl.username"), "u");
  EXPECT_EQ(Property(quiet, "sasl.password"), "p@ss");
  EXPECT_EQ(Property(Make("kafka://u:p@a/app?security.protocol=sasl_plaintext"), "security.protocol"),
            "sasl_plaintext");
}

TEST(KafkaEndpoint, TakesCredentialsOfTheOptionsUnlessTheUrlHasSome) {
  OpenOptions options;
  options.credentials.user = "other";
  options.credentials.password = "word";
  options.credentials.tls_ca_file = "/ca.pem";
  EXPECT_EQ(Property(Make("kafka://a/app?sasl.mechanism=SCRAM-SHA-256", options), "sasl.username"), "other");
  EXPECT_EQ(Property(Make("kafka://a/app", options), "ssl.ca.location"), "/ca.pem");
  EXPECT_EQ(Property(Make("kafka://u:p@a/app", options), "sasl.username"), "u");
}

TEST(KafkaEndpoint, SpeaksTlsWhenItIsGivenTlsFiles) {
  OpenOptions options;
  options.credentials.tls_ca_file = "/ca.pem";
  EXPECT_EQ(Property(Make("kafka://a/app", options), "security.protocol"), "ssl");
  EXPECT_EQ(Make("kafka://a/app?security.protocol=plaintext", options).code(), Errc::kInvalid);
}

TEST(KafkaEndpoint, RefusesWhatItDoesNotKnowAndSaysWhatItKnows) {
  const Result<Endpoint> unknown = Make("kafka://a/app?acks=1");
  ASSERT_FALSE(unknown.ok());
  EXPECT_EQ(unknown.code(), Errc::kInvalid);
  EXPECT_NE(unknown.error().message().find("fencing"), std::string::npos);
  for (const char* query : {"security.protocol=tls", "sasl.mechanism=GSSAPI", "fencing=none", "max.message.bytes=1",
                            "max.message.bytes=9x", "transaction.timeout.ms=10", "transaction.timeout.ms=-1",
                            "sasl.mechanism=PLAIN", "security.protocol=sasl_ssl"}) {
    EXPECT_EQ(Make(std::string("kafka://a/app?") + query).code(), Errc::kInvalid) << query;
  }
}

TEST(KafkaEndpoint, TakesTheTransactionsTimeOut) {
  const Result<Endpoint> endpoint = Make("kafka://a/app?fencing=transactional&transaction.timeout.ms=2000");
  ASSERT_TRUE(endpoint.ok()) << endpoint.error().message();
  EXPECT_EQ(endpoint->fencing, Fencing::kTransactional);
  EXPECT_EQ(endpoint->transaction_timeout, std::chrono::milliseconds(2000));
  EXPECT_EQ(Make("kafka://a/app")->transaction_timeout, std::chrono::milliseconds(10'000));
}

TEST(KafkaEndpoint, NeverRepeatsAPassword) {
  const Result<Endpoint> wrong = Make("kafka://user:geheim@a/app?security.protocol=plaintext");
  ASSERT_FALSE(wrong.ok());
  EXPECT_EQ(wrong.error().message().find("geheim"), std::string::npos);
}

}  // namespace
}  // namespace runnel::bus::kafka
