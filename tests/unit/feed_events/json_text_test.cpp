#include "subscriber/feed/json_text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include <nlohmann/json.hpp>

namespace runnel::feed {
namespace {

using nlohmann::json;

std::string Written(const std::function<void(JsonText&)>& write) {
  JsonText text;
  write(text);
  return std::string(text.view());
}

TEST(JsonText, WritesTextsThatEveryParserReadsBack) {
  std::mt19937_64 random(1);
  const std::string parts[] = {"a", "\"",       "\\",   "\n", std::string(1, '\0'), "\x1f", "é", "中",
                               "😀", "12345678", "\x7f", "/"};
  for (int i = 0; i < 2000; ++i) {
    std::string in;
    for (uint64_t n = random() % 40; n > 0; --n) in += parts[random() % std::size(parts)];
    std::string out = Written([&](JsonText& text) { text.String(in); });
    EXPECT_EQ(json::parse(out).get<std::string>(), in);
  }
}

TEST(JsonText, WritesNumbersThatReadBackAsTheSame) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 5000; ++i) {
    int64_t integer = static_cast<int64_t>(random());
    EXPECT_EQ(json::parse(Written([&](JsonText& text) { text.Number(integer); })).get<int64_t>(), integer);
    double real = std::bit_cast<double>(random());
    if (!std::isfinite(real)) continue;
    std::string out = Written([&](JsonText& text) { text.Real(real); });
    EXPECT_EQ(std::strtod(out.c_str(), nullptr), real) << out;
    EXPECT_TRUE(json::parse(out).is_number_float()) << out;
  }
  EXPECT_EQ(Written([](JsonText& text) { text.Real(5); }), "5.0");
  EXPECT_EQ(Written([](JsonText& text) { text.Real(-0.0); }), "-0.0");
  EXPECT_EQ(Written([](JsonText& text) { text.Number(INT64_MIN); }), "-9223372036854775808");
}

TEST(JsonText, WritesBase64WithItsPadding) {
  auto written = [](std::string_view in) { return Written([in](JsonText& text) { text.Base64(AsBytes(in)); }); };
  EXPECT_EQ(written(""), "\"\"");
  EXPECT_EQ(written("f"), "\"Zg==\"");
  EXPECT_EQ(written("fo"), "\"Zm8=\"");
  EXPECT_EQ(written("foobar"), "\"Zm9vYmFy\"");
  EXPECT_EQ(written("\xff\xfe\xfd"), "\"//79\"");
}

TEST(JsonText, GrowsWithWhatIsPutIn) {
  JsonText text;
  std::string large(1 << 20, 'x');
  text.Put('[');
  text.String(large);
  text.Put(']');
  EXPECT_EQ(json::parse(text.view())[0].get<std::string>(), large);
  text.Clear();
  EXPECT_EQ(text.view(), "");
}

TEST(Utf8, IsWhatTheStandardSays) {
  for (const char* good : {"", "plain ascii text", "é", "中文", "😀", "\xF4\x8F\xBF\xBF", "\xEF\xBF\xBF", "12345678é"}) {
    EXPECT_TRUE(IsUtf8(good)) << good;
  }
  for (const char* bad : {"\xff", "\xc0\x80", "\xc1\xbf", "\xe0\x9f\xbf", "\xed\xa0\x80", "\xf0\x8f\xbf\xbf",
                          "\xf4\x90\x80\x80", "\xe4\xb8", "12345678\x80", "\xf5\x80\x80\x80", "a\xc3"}) {
    EXPECT_FALSE(IsUtf8(bad)) << bad;
  }
}

}  // namespace
}  // namespace runnel::feed
