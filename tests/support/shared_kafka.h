// One Kafka broker for all tests of a process: starting one costs seconds. Each test has a log of its own on it.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "tests/support/kafka_broker.h"

namespace runnel::testing {

// Of one version at a time; ended before main returns. REQUIRES: added with ::testing::AddGlobalTestEnvironment.
class SharedKafka : public ::testing::Environment {
 public:
  void TearDown() override { broker_.reset(); }

  // nullptr after a failure, which is reported.
  KafkaBroker* Get(const std::string& version) {
    if (broker_ == nullptr || version != version_) {
      broker_.reset();
      KafkaBroker::Options options;
      options.home = Kafka(version).value_or("");
      Result<std::unique_ptr<KafkaBroker>> broker = KafkaBroker::Start(std::move(options));
      EXPECT_TRUE(broker.ok()) << broker.error().message();
      if (!broker.ok()) return nullptr;
      broker_ = *std::move(broker);
      version_ = version;
    }
    return broker_.get();
  }

  std::string FreshName() { return "app" + std::to_string(++names_); }

  // Owned by GoogleTest. Called once, before main.
  static SharedKafka* Add() {
    return static_cast<SharedKafka*>(::testing::AddGlobalTestEnvironment(std::make_unique<SharedKafka>().release()));
  }

 private:
  std::unique_ptr<KafkaBroker> broker_;
  std::string version_;
  int names_ = 0;
};

}  // namespace runnel::testing
