#include "bus/kafka/stamp.h"

#include <gtest/gtest.h>

#include <random>

namespace runnel::bus::kafka {
namespace {

Stamp Example() {
  Stamp stamp;
  stamp.is_marker = true;
  stamp.offset = 0x0102030405060708;
  stamp.leadership = 0x1112131415161718;
  stamp.previous = RecordId{0x0102030405060707, 0x2122232425262728};
  return stamp;
}

TEST(Stamp, HasFixedBytes) {
  EXPECT_EQ(ToHex(AsBytes(EncodeStamp(Example()))),
            "0101"
            "0102030405060708"
            "1112131415161718"
            "0102030405060707"
            "2122232425262728");
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
    const std::optional<Stamp> back = DecodeStamp(AsBytes(EncodeStamp(stamp)));
    ASSERT_TRUE(back.has_value());
    EXPECT_EQ(*back, stamp);
  }
}

TEST(Stamp, IsRefusedAtEveryOtherLength) {
  const std::string bytes = EncodeStamp(Example());
  for (size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(DecodeStamp(AsBytes(bytes.substr(0, size))).has_value()) << size;
  EXPECT_FALSE(DecodeStamp(AsBytes(bytes + "x")).has_value());
}

// A stamp has no checksum of its own (Kafka's batches have one): a flipped bit must never read back as the same stamp.
TEST(Stamp, WithAFlippedBitIsRefusedOrAnother) {
  const std::string bytes = EncodeStamp(Example());
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << bit % 8));
    const std::optional<Stamp> stamp = DecodeStamp(AsBytes(flipped));
    if (stamp.has_value()) {
      EXPECT_FALSE(*stamp == Example()) << bit;
    }
    if (bit < 15 && bit != 8) {
      EXPECT_FALSE(stamp.has_value()) << "version or flags, bit " << bit;
    }
  }
}

TEST(Stamp, IsRefusedWhenItContradictsItself) {
  Stamp no_leadership = Example();
  no_leadership.leadership = 0;
  EXPECT_FALSE(DecodeStamp(AsBytes(EncodeStamp(no_leadership))).has_value());
  Stamp half_named = Example();
  half_named.previous.leadership = 0;
  EXPECT_FALSE(DecodeStamp(AsBytes(EncodeStamp(half_named))).has_value());
  Stamp previous_behind = Example();
  previous_behind.previous.seq = static_cast<uint64_t>(previous_behind.offset) + 1;
  EXPECT_FALSE(DecodeStamp(AsBytes(EncodeStamp(previous_behind))).has_value());
  Stamp negative = Example();
  negative.offset = -1;
  EXPECT_FALSE(DecodeStamp(AsBytes(EncodeStamp(negative))).has_value());
}

}  // namespace
}  // namespace runnel::bus::kafka
