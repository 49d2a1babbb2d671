#include "bus/nats/text.h"

#include <string>

#include <gtest/gtest.h>

#include "bus/nats/nkey.h"

namespace runnel::bus::nats {
namespace {

using std::chrono::microseconds;

TEST(Delivery, IsReadFromTheShortReplySubject) {
  const std::optional<Delivery> delivery = ParseDelivery("$JS.ACK.RUNNEL-app.c1.1.4711.17.1637498000123456789.3");
  ASSERT_TRUE(delivery.has_value());
  EXPECT_EQ(delivery->seq, StreamSeq(4711));
  EXPECT_EQ(delivery->stored_at, WallTime(microseconds(1637498000123456)));
}

TEST(Delivery, IsReadFromTheLongReplySubjectWithDomain) {
  for (const char* reply : {"$JS.ACK._.hash.RUNNEL-app.c1.1.4711.17.1637498000123456789.3",
                            "$JS.ACK.hub.hash.RUNNEL-app.c1.1.4711.17.1637498000123456789.3.token"}) {
    const std::optional<Delivery> delivery = ParseDelivery(reply);
    ASSERT_TRUE(delivery.has_value()) << reply;
    EXPECT_EQ(delivery->seq, StreamSeq(4711));
    EXPECT_EQ(delivery->stored_at, WallTime(microseconds(1637498000123456)));
  }
}

TEST(Delivery, IsNothingWhenTheSubjectIsAnother) {
  for (const char* reply : {"", "_INBOX.x.1", "$JS.ACK", "$JS.ACK.s.c.1.4711.17.1637498000123456789",
                            "$JS.ACK.s.c.1.4711.17.1637498000123456789.3.4", "$JS.ACK.s.c.1.x.17.1637498000123456789.3",
                            "$JS.ACK.s.c.1.0.17.1637498000123456789.3", "$JS.ACK.s.c.1.-4.17.1637498000123456789.3",
                            "$JS.NAK.s.c.1.4711.17.1637498000123456789.3", "$JS.ACK.a.b.c.d.e.f.g.h.i.j.k.l.m"}) {
    EXPECT_FALSE(ParseDelivery(reply).has_value()) << reply;
  }
}

TEST(Time, IsReadWithDecimalsAndOffset) {
  EXPECT_EQ(ParseTime("2021-11-21T12:33:20Z"), WallTime(std::chrono::seconds(1637498000)));
  EXPECT_EQ(ParseTime("2021-11-21T12:33:20.5Z"), WallTime(microseconds(1637498000500000)));
  EXPECT_EQ(ParseTime("2021-11-21T12:33:20.123456789Z"), WallTime(microseconds(1637498000123456)));
  EXPECT_EQ(ParseTime("2021-11-21T14:03:20+01:30"), WallTime(std::chrono::seconds(1637498000)));
  EXPECT_EQ(ParseTime("2021-11-21T07:33:20-05:00"), WallTime(std::chrono::seconds(1637498000)));
}

TEST(Time, ComesBackAfterFormatting) {
  for (const int64_t micros : {int64_t{0}, int64_t{1}, int64_t{951782399999999}, int64_t{1637498000123456}}) {
    const WallTime time{microseconds(micros)};
    EXPECT_EQ(ParseTime(FormatTime(time)), time) << FormatTime(time);
  }
}

TEST(Time, IsRefusedWhenAnyPartIsWrong) {
  for (const char* text :
       {"", "2021-11-21", "2021-11-21T12:33:20", "2021-11-21T12:33:20.Z", "2021-02-30T12:33:20Z",
        "2021-13-21T12:33:20Z", "2021-11-21T24:33:20Z", "2021-11-21 12:33:20Z", "2021-11-21T12:33:20+1:00",
        "2021-11-21T12:33:20ZZ", "0001-01-01T00:00:00Z", "+021-11-21T12:33:20Z"}) {
    EXPECT_FALSE(ParseTime(text).has_value()) << text;
  }
}

TEST(Time, TruncatedAnywhereIsRefused) {
  const std::string text = "2021-11-21T12:33:20.123456789Z";
  for (size_t size = 0; size < text.size(); ++size) EXPECT_FALSE(ParseTime(text.substr(0, size)).has_value()) << size;
}

TEST(Base64, DecodesEachPaddingLength) {
  EXPECT_EQ(DecodeBase64(""), "");
  EXPECT_EQ(DecodeBase64("Zg=="), "f");
  EXPECT_EQ(DecodeBase64("Zm8="), "fo");
  EXPECT_EQ(DecodeBase64("Zm9v"), "foo");
  EXPECT_EQ(DecodeBase64("Zm9vYmFy"), "foobar");
  EXPECT_EQ(DecodeBase64("AP+/"), std::string("\0\xff\xbf", 3));
}

TEST(Base64, RefusesWhatIsNotBase64) {
  for (const char* text : {"Z", "Zg=", "Zg", "Z*==", "Zm9v\n", "=Zm9", "====", "Zm_v"}) {
    EXPECT_FALSE(DecodeBase64(text).has_value()) << text;
  }
}

// The pair of the NATS documentation.
constexpr std::string_view kSeed = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
constexpr std::string_view kPublic = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

TEST(Nkey, PublicKeyFollowsFromTheSeed) {
  const Result<std::string> key = NkeyPublicFromSeed(kSeed);
  ASSERT_TRUE(key.ok()) << key.error().message();
  EXPECT_EQ(*key, kPublic);
}

TEST(Nkey, AnyChangedLetterOfTheSeedIsRefusedAndNotRepeated) {
  // The last letter carries two bits only that matter; all before it are under the checksum.
  for (size_t i = 0; i + 1 < kSeed.size(); ++i) {
    std::string seed(kSeed);
    seed[i] = seed[i] == 'A' ? 'B' : 'A';
    const Result<std::string> key = NkeyPublicFromSeed(seed);
    ASSERT_FALSE(key.ok()) << i;
    EXPECT_EQ(key.code(), Errc::kInvalid);
    EXPECT_EQ(key.error().message().find(seed), std::string::npos);
  }
}

TEST(Nkey, TruncatedSeedIsRefused) {
  for (size_t size = 0; size < kSeed.size(); ++size)
    EXPECT_FALSE(NkeyPublicFromSeed(kSeed.substr(0, size)).ok()) << size;
}

}  // namespace
}  // namespace runnel::bus::nats
