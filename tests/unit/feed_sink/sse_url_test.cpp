#include <gtest/gtest.h>

#include "subscriber/feed/sink/open.h"
#include "subscriber/feed/sink/sse_server.h"

namespace runnel::feed {
namespace {

TEST(SseUrlTest, HasAddressPrefixAndParameters) {
  Result<SseUrl> url = ParseSseUrl("sse://[::1]:8090/cdc?keep=1MiB&heartbeat=2s&clients=3");
  ASSERT_TRUE(url.ok()) << url.error().message();
  EXPECT_EQ(url->listen, "[::1]:8090");
  EXPECT_EQ(url->prefix, "cdc");
  EXPECT_EQ(url->keep_bytes, 1u << 20);
  EXPECT_EQ(url->heartbeat, std::chrono::seconds(2));
  EXPECT_EQ(url->clients_max, 3u);
  ASSERT_TRUE(ParseSseUrl("sse://127.0.0.1:0/a_b-C").ok());
}

TEST(SseUrlTest, SaysWhatIsWrong) {
  const std::pair<const char*, const char*> cases[] = {
      {"http://h:1/p", "begins with sse://"},
      {"sse://h:1", "no prefix"},
      {"sse://h/p", "no port"},
      {"sse://[::1]/p", "no port"},
      {"sse://h:1/p/q", "PREFIX"},
      {"sse://h:1/", "PREFIX"},
      {"sse://h:1/p?keep=1", "64KiB"},
      {"sse://h:1/p?keep=many", "many"},
      {"sse://h:1/p?heartbeat=1ms", "100ms"},
      {"sse://h:1/p?clients=0", "1 to 1000"},
      {"sse://h:1/p?clients=5x", "1 to 1000"},
      {"sse://h:1/p?keeps=1", "keeps"},
      {"sse://h:1/p?keep", ""},
  };
  for (const auto& [text, part] : cases) {
    Result<SseUrl> url = ParseSseUrl(text);
    ASSERT_FALSE(url.ok()) << text;
    EXPECT_EQ(url.code(), Errc::kInvalid);
    EXPECT_NE(url.error().message().find(part), std::string::npos) << text << ": " << url.error().message();
  }
}

TEST(SseUrlTest, IsASinkWithAPrefixAndWithoutKeys) {
  Result<SinkTraits> traits = TraitsOfSink("sse://127.0.0.1:8090/cdc");
  ASSERT_TRUE(traits.ok());
  EXPECT_EQ(traits->prefix, "cdc");
  EXPECT_FALSE(traits->keys);
  EXPECT_FALSE(TraitsOfSink("sse://127.0.0.1:8090").ok());
}

}  // namespace
}  // namespace runnel::feed
