#include "bus/kafka/statistics.h"

#include <gtest/gtest.h>

namespace runnel::bus::kafka {
namespace {

TEST(KafkaStatistics, ArePickedFromTheTextOfTheLibrary) {
  const ClientNumbers numbers = ParseStatistics(R"({"name":"x","txmsgs":7,"txmsg_bytes":700,"rxmsgs":3,"rxmsg_bytes":30,
    "msg_cnt":2,"brokers":{
      "a:1/1":{"txretries":1,"req_timeouts":2,"disconnects":3,"rtt":{"p50":250,"p99":4000}},
      "b:2/2":{"txretries":10,"req_timeouts":20,"disconnects":30,"rtt":{"p50":500,"p99":900}},
      "bootstrap":{"rtt":{"p50":0,"p99":0}}}})");
  ClientNumbers expected;
  expected.sent_messages = 7;
  expected.sent_bytes = 700;
  expected.received_messages = 3;
  expected.received_bytes = 30;
  expected.queued_messages = 2;
  expected.round_trip_p50_s = 500e-6;
  expected.round_trip_p99_s = 4000e-6;
  expected.retries = 11;
  expected.request_timeouts = 22;
  expected.disconnects = 33;
  EXPECT_DOUBLE_EQ(numbers.round_trip_p50_s, expected.round_trip_p50_s);
  EXPECT_DOUBLE_EQ(numbers.round_trip_p99_s, expected.round_trip_p99_s);
  expected.round_trip_p50_s = numbers.round_trip_p50_s;
  expected.round_trip_p99_s = numbers.round_trip_p99_s;
  EXPECT_EQ(numbers, expected);
}

TEST(KafkaStatistics, AreZeroWhereTheTextIsSomethingElse) {
  for (const char* text : {"", "[]", "{", "7", R"({"txmsgs":"many","brokers":[1,2]})", R"({"brokers":{"a":7}})",
                           R"({"brokers":{"a":{"rtt":3,"txretries":null}}})"}) {
    EXPECT_EQ(ParseStatistics(text), ClientNumbers()) << text;
  }
}

}  // namespace
}  // namespace runnel::bus::kafka
