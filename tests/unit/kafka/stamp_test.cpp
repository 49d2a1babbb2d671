#include "bus/kafka/stamp.h"

#include <gtest/gtest.h>

#include <random>

namespace runnel::bus::kafka {
namespace {

Stamp Example() {
  Stamp stamp;
  stamp.is_marker = true;
  stamp.offset = 42;
  stamp.leadership = 0x1112131415161718;
  stamp.previous = RecordId{42, 0x2122232425262728};
  return stamp;
}

TEST(Stamp, HasOneFixedText) {
  EXPECT_EQ(EncodeStamp(Example()), "1 m 42 1112131415161718 41 2122232425262728");
  Stamp first;
  first.leadership = 0xab;
  EXPECT_EQ(EncodeStamp(first), "1 d 0 00000000000000ab - -");
}

TEST(Stamp, ComesBackAsItWas) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 1000; ++i) {
    Stamp stamp;
    stamp.is_marker = random() % 2 == 0;
    stamp.offset = static_cast<Offset>(random() >> 1);
    stamp.leadership = random() | 1;
    if (random() % 4 != 0 && stamp.offset > 0) {
      stamp.previous = RecordId{1 + random() % static_cast<uint64_t>(stamp.offset), random() | 1};
    }
    const std::optional<Stamp> back = DecodeStamp(EncodeStamp(stamp));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(*back, stamp);
  }
}

TEST(Stamp, IsRefusedAtEveryOtherLength) {
  const std::string bytes = EncodeStamp(Example());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(DecodeStamp(bytes.substr(0, size)).has_value()) << size;
  EXPECT_FALSE(DecodeStamp(bytes + "x").has_value());
}

// A stamp has no checksum of its own (Kafka's batches have one): a flipped bit must never read back as the same stamp.
TEST(Stamp, WithAFlippedBitIsRefusedOrAnother) {
  const std::string bytes = EncodeStamp(Example());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const std::optional<Stamp> stamp = DecodeStamp(flipped);
    if (stamp.has_value()) {
      EXPECT_FALSE(*stamp == Example()) << bit;
    }
    if (bit < 4 * 8) {
      EXPECT_FALSE(stamp.has_value()) << "version or kind, bit " << bit;
    }
  }
}

TEST(Stamp, IsRefusedInAnyOtherForm) {
  for (const char* text :
       {"1 m 042 1112131415161718 41 2122232425262728", "1 m +42 1112131415161718 41 2122232425262728",
        "1 m 42 1112131415161718  41 2122232425262728", "1 m 42 111213141516171 41 2122232425262728",
        "1 m 42 111213141516171A 41 2122232425262728", "2 m 42 1112131415161718 41 2122232425262728",
        "1 x 42 1112131415161718 41 2122232425262728", "1 m 42 1112131415161718 - 2122232425262728",
        "1 m 42 1112131415161718 -", "1 m 99999999999999999999 1112131415161718 - -",
        "1 m 42 1112131415161718 41 2122232425262728 more", ""}) {
    EXPECT_FALSE(DecodeStamp(text).has_value()) << text;
  }
}

TEST(Stamp, IsRefusedWhenItContradictsItself) {
  Stamp no_leadership = Example();
  no_leadership.leadership = 0;
  EXPECT_FALSE(DecodeStamp(EncodeStamp(no_leadership)).has_value());
  Stamp half_named = Example();
  half_named.previous.leadership = 0;
  EXPECT_FALSE(DecodeStamp(EncodeStamp(half_named)).has_value());
  Stamp previous_behind = Example();
  previous_behind.previous.seq = static_cast<uint64_t>(previous_behind.offset) + 1;
  EXPECT_FALSE(DecodeStamp(EncodeStamp(previous_behind)).has_value());
  Stamp negative = Example();
  negative.offset = -1;
  EXPECT_FALSE(DecodeStamp(EncodeStamp(negative)).has_value());
}

}  // namespace
}  // namespace runnel::bus::kafka
