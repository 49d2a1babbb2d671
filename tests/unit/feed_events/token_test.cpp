#include "subscriber/feed/token.h"

#include <gtest/gtest.h>

#include "subscriber/feed/event_encoder.h"
#include "subscriber/feed/glob.h"

namespace runnel::feed {
namespace {

constexpr char kLineage[] = "0af7651916cd43dd8448eb211c80319c";

Token Of(uint64_t txid, bool snapshot, uint64_t ordinal) {
  return Token{*ParseLineageId(kLineage), Txid(txid), snapshot, ordinal};
}

TEST(FeedToken, ReadsBackWhatItWrote) {
  for (const Token& token : {Of(0x2a, false, 7), Of(1, true, 1), Of(0, false, 0), Of(UINT64_MAX, true, UINT64_MAX)}) {
    std::optional<Token> read = ParseToken(ToString(token));
    ASSERT_TRUE(read) << ToString(token);
    EXPECT_EQ(*read, token);
  }
  EXPECT_EQ(ToString(Of(0x2a, true, 7)), std::string(kLineage) + ":000000000000002a:s7");
}

TEST(FeedToken, RefusesEverythingElse) {
  std::string good = ToString(Of(0x2a, false, 7));
  for (const std::string& bad :
       {std::string(), good + "x", good + " ", "0" + good, good.substr(0, good.size() - 1), good.substr(0, 40) + "x:1",
        std::string(kLineage) + ":000000000000002a:", std::string(kLineage) + ":000000000000002a:s",
        std::string(kLineage) + ":000000000000002a:07", std::string(kLineage) + ":000000000000002a:-1",
        std::string(kLineage) + ":000000000000002a:18446744073709551616", std::string(kLineage) + ":2a:1"}) {
    EXPECT_FALSE(ParseToken(bad)) << bad;
  }
}

TEST(FeedToken, IsOrderedAsEventsAre) {
  std::vector<Token> ordered = {Of(1, false, 0), Of(1, false, 9), Of(1, true, 1), Of(1, true, 10), Of(2, false, 0)};
  for (size_t i = 1; i < ordered.size(); ++i) EXPECT_LT(ordered[i - 1], ordered[i]);
}

TEST(FeedTopics, AreDifferentForDifferentTables) {
  EXPECT_EQ(TopicOf("app", "order_items-2"), "app.order_items-2");
  EXPECT_EQ(TopicOf("app", "a b.c"), "app.a_x20b_x2ec");
  EXPECT_EQ(TopicOf("app", "a_x20b"), "app.a_x5fx20b");
  EXPECT_NE(TopicOf("app", "a b"), TopicOf("app", "a_x20b"));
}

TEST(FeedGlobs, MatchAsTheyAreWritten) {
  EXPECT_TRUE(GlobMatches("*", ""));
  EXPECT_TRUE(GlobMatches("ord*", "Orders"));
  EXPECT_TRUE(GlobMatches("*_log_*", "a_log_b_log_c"));
  EXPECT_TRUE(GlobMatches("t?", "t1"));
  EXPECT_FALSE(GlobMatches("t?", "t"));
  EXPECT_FALSE(GlobMatches("ord", "orders"));
  EXPECT_FALSE(GlobMatches("*a*b*c", "abcabx"));
}

}  // namespace
}  // namespace runnel::feed
