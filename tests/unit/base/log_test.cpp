#include "ltx/base/log.h"

#include <limits>

#include <gtest/gtest.h>

namespace runnel {
namespace {

constexpr std::string_view kAt = "2024-05-01T12:00:00.000000Z";

std::string Text(std::initializer_list<LogField> fields) {
  return RenderLogLine(LogFormat::kText, kAt, Level::kInfo, "ltx_published", fields);
}
std::string Json(std::initializer_list<LogField> fields) {
  return RenderLogLine(LogFormat::kJson, kAt, Level::kWarn, "ltx_published", fields);
}

TEST(LogLine, TextHasTimeLevelWordsAndPairs) {
  std::string name("app");
  EXPECT_EQ(Text({{"db", name}, {"max_txid", "00000000000003e8"}, {"bytes", 4120}}),
            "2024-05-01T12:00:00.000000Z info  ltx published           db=app max_txid=00000000000003e8 bytes=4120");
  EXPECT_EQ(Text({}), "2024-05-01T12:00:00.000000Z info  ltx published");
}

TEST(LogLine, JsonHasTheEventNameAndTypedValues) {
  EXPECT_EQ(Json({{"db", "app"}, {"bytes", uint64_t{4120}}, {"lag", -1}, {"exact", true}, {"rate", 1.5}}),
            "{\"ts\":\"2024-05-01T12:00:00.000000Z\",\"level\":\"warn\",\"event\":\"ltx_published\",\"db\":\"app\","
            "\"bytes\":4120,\"lag\":-1,\"exact\":true,\"rate\":1.5}");
}

TEST(LogLine, KeepsEveryIntegerExact) {
  EXPECT_NE(Text({{"a", std::numeric_limits<uint64_t>::max()}}).find("a=18446744073709551615"), std::string::npos);
  EXPECT_NE(Text({{"a", std::numeric_limits<int64_t>::min()}}).find("a=-9223372036854775808"), std::string::npos);
  EXPECT_NE(Text({{"a", uint8_t{7}}}).find("a=7"), std::string::npos);
  EXPECT_NE(Text({{"a", 'x'}}).find("a=120"), std::string::npos);
}

TEST(LogLine, StaysOneLineWhateverTheTextHolds) {
  std::string line = Text({{"err", "two\nlines \"quoted\" a=b\x01"}});
  EXPECT_EQ(line.find('\n'), std::string::npos);
  EXPECT_NE(line.find("err=\"two\\nlines \\\"quoted\\\" a=b\\u0001\""), std::string::npos);
  EXPECT_NE(Text({{"err", ""}}).find("err=\"\""), std::string::npos);
}

TEST(LogLine, JsonReplacesBytesThatAreNotUtf8) {
  EXPECT_NE(Json({{"err",
                   "a\xff"
                   "b"}})
                .find("\"err\":\"a\\ufffdb\""),
            std::string::npos);
  EXPECT_NE(Json({{"err", "\xc0\xaf"}}).find("\"err\":\"\\ufffd\\ufffd\""), std::string::npos);             // overlong
  EXPECT_NE(Json({{"err", "\xed\xa0\x80"}}).find("\"err\":\"\\ufffd\\ufffd\\ufffd\""), std::string::npos);  // surrogate
  EXPECT_NE(Json({{"err", "gr\xc3\xbc\xc3\x9f"}}).find("\"err\":\"gr\xc3\xbc\xc3\x9f\""), std::string::npos);
}

TEST(LogLine, WritesNoNumberJsonDoesNotKnow) {
  EXPECT_NE(Json({{"rate", std::numeric_limits<double>::infinity()}}).find("\"rate\":null"), std::string::npos);
}

TEST(Log, WritesEnabledLevelsToStandardErrorOnly) {
  InitLog({.level = Level::kWarn, .format = LogFormat::kText});
  ::testing::internal::CaptureStderr();
  Log(Level::kInfo, "not_written");
  Log(Level::kWarn, "gap_found", {{"db", "app"}});
  std::string written = ::testing::internal::GetCapturedStderr();
  InitLog({});
  EXPECT_EQ(written.find("not written"), std::string::npos);
  EXPECT_NE(written.find("warn  gap found"), std::string::npos);
  EXPECT_NE(written.find("db=app\n"), std::string::npos);
}

TEST(Log, LevelsAndFormatsReadBackTheirNames) {
  for (Level level : {Level::kError, Level::kWarn, Level::kInfo, Level::kDebug, Level::kTrace}) {
    EXPECT_EQ(*ParseLevel(ToString(level)), level);
  }
  EXPECT_EQ(ParseLevel("loud").code(), Errc::kInvalid);
  EXPECT_EQ(*ParseLogFormat("json"), LogFormat::kJson);
  EXPECT_EQ(ParseLogFormat("xml").code(), Errc::kInvalid);
}

}  // namespace
}  // namespace runnel
