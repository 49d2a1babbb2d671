#include "bus/packer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bus/commits_view.h"
#include "bus/outline.h"

namespace runnel::bus {
namespace {

using testing::HasSubstr;

std::string Noise(size_t size, uint32_t seed) {
  std::mt19937 random(seed);
  std::string bytes(size, '\0');
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

// `count` commits from TXID 7 on, all with one file, or each with another.
Envelope SomeCommits(size_t count, size_t file_bytes, bool alike) {
  Commits commits;
  for (size_t i = 0; i < count; ++i) {
    Entry entry;
    entry.min_txid = entry.max_txid = Txid(7 + i);
    entry.wal_checksum = i;
    entry.ltx = "LTX1" + Noise(file_bytes + i, alike ? 1 : static_cast<uint32_t>(i + 1));
    commits.entries.push_back(std::move(entry));
  }
  Envelope envelope;
  envelope.header.lineage = *ParseLineage("000102030405060708090a0b0c0d0e0f");
  envelope.header.epoch = Epoch(3);
  envelope.header.database = "orders";
  envelope.header.min_txid = Txid(7);
  envelope.header.position = {Txid(6 + count), Checksum(0x8123456789abcdef)};
  envelope.header.page_size = PageSize(4096);
  envelope.body = std::move(commits);
  return envelope;
}

std::chrono::steady_clock::time_point At(int ms) {
  return std::chrono::steady_clock::time_point(std::chrono::hours(1) + std::chrono::milliseconds(ms));
}

bool IsPacked(std::string_view payload) { return static_cast<int>(payload[3]) == 2; }

void ExpectSame(const Envelope& got, const Envelope& want) {
  const auto& a = std::get<Commits>(got.body).entries;
  const auto& b = std::get<Commits>(want.body).entries;
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].max_txid, b[i].max_txid);
    EXPECT_EQ(a[i].wal_checksum, b[i].wal_checksum);
    EXPECT_EQ(a[i].ltx, b[i].ltx) << i;
  }
  EXPECT_EQ(got.header.position, want.header.position);
}

// As SomeCommits(3, 200, true), packed by hand so that each part can be spoilt.
std::string PackedByHand(PackedLtx packed) { return EncodePacked(SomeCommits(3, 200, true), std::move(packed)); }

// An LZ4 block of `size` bytes that stand for themselves; 15 at least.
std::string LiteralBlock(size_t size) {
  std::string block = "\xf0";
  size_t rest = size - 15;
  for (; rest >= 255; rest -= 255) block += '\xff';
  block += static_cast<char>(rest);
  return block + std::string(size, 'x');
}

TEST(Packer, FilesThatAreAlikeAreSentOnceAndComeBack) {
  const Envelope envelope = SomeCommits(50, 2000, true);
  const std::string plain = Encode(envelope);
  const std::string packed = Packer().Encode(envelope, At(0));
  EXPECT_TRUE(IsPacked(packed));
  EXPECT_LT(packed.size(), plain.size() / 10);
  Result<Envelope> got = Decode(packed);
  ASSERT_TRUE(got.ok()) << got.error().message();
  ExpectSame(*got, envelope);
  EXPECT_EQ(Encode(*got), plain);
  Result<std::optional<CommitsView>> view = ViewCommits(packed);
  ASSERT_TRUE(view.ok() && *view);
  const std::optional<CommitsView> moved = std::move(*view);  // what it shows stays where it is
  for (size_t i = 0; i < moved->entries.size(); ++i) {
    EXPECT_EQ(AsText(moved->entries[i].ltx), std::get<Commits>(envelope.body).entries[i].ltx);
  }
}

TEST(Packer, AnOutlineNeedsNoUnpacking) {
  std::string packed = Packer().Encode(SomeCommits(3, 2000, true), At(0));
  packed.back() = static_cast<char>(packed.back() ^ 1);
  Result<Outline> outline = DecodeOutline(packed);
  ASSERT_TRUE(outline.ok()) << outline.error().message();
  ASSERT_EQ(outline->entries.size(), 3u);
  EXPECT_EQ(outline->entries[2].max_txid, Txid(9));
}

TEST(Packer, WhatDoesNotGetSmallerStaysPlain) {
  Packer packer;
  const Envelope different = SomeCommits(50, 2000, false);
  EXPECT_EQ(packer.Encode(different, At(0)), Encode(different));
  const Envelope single = SomeCommits(1, 2000, true);
  EXPECT_EQ(packer.Encode(single, At(100)), Encode(single));
  Envelope heartbeat = SomeCommits(1, 10, true);
  heartbeat.header.min_txid = Txid(8);
  heartbeat.body = Heartbeat();
  EXPECT_EQ(packer.Encode(heartbeat, At(200)), Encode(heartbeat));
}

TEST(Packer, AfterATryInVainItWaitsBeforeTheNext) {
  Packer packer;
  const Envelope different = SomeCommits(20, 500, false);
  const Envelope alike = SomeCommits(20, 500, true);
  EXPECT_TRUE(IsPacked(packer.Encode(alike, At(0))));
  EXPECT_FALSE(IsPacked(packer.Encode(different, At(1))));
  EXPECT_FALSE(IsPacked(packer.Encode(alike, At(2))));
  EXPECT_FALSE(IsPacked(packer.Encode(alike, At(50))));
  EXPECT_TRUE(IsPacked(packer.Encode(alike, At(51))));
  EXPECT_TRUE(IsPacked(packer.Encode(alike, At(51))));
}

TEST(Packer, FlippedBitsAndTruncationNeverCrash) {
  const std::string packed = Packer().Encode(SomeCommits(3, 40, true), At(0));
  ASSERT_TRUE(IsPacked(packed));
  for (size_t bit = 0; bit < packed.size() * 8; ++bit) {
    std::string flipped = packed;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    Result<Envelope> got = Decode(flipped);
    if (!got.ok()) continue;
    EXPECT_TRUE(DecodeOutline(flipped).ok()) << bit;
    EXPECT_TRUE(Decode(Encode(*got)).ok()) << bit;
  }
  for (size_t size = 0; size < packed.size(); ++size) {
    EXPECT_EQ(Decode(std::string_view(packed).substr(0, size)).code(), Errc::kCorrupt) << size;
  }
}

TEST(Packer, ABlockThatIsNotWhatItSaysIsCorrupt) {
  auto expect_corrupt = [](const std::string& payload, const std::string& message) {
    Result<Envelope> got = Decode(payload);
    ASSERT_FALSE(got.ok()) << message;
    EXPECT_EQ(got.code(), Errc::kCorrupt);
    EXPECT_THAT(got.error().message(), HasSubstr(message));
  };
  expect_corrupt(PackedByHand({0, ""}), "not an LZ4 block");
  expect_corrupt(PackedByHand({100, "no block"}), "packed files of 100 bytes are not an LZ4 block of that size");
  expect_corrupt(PackedByHand({uint64_t{60} << 20, "a bomb"}), "bytes are not an LZ4 block");
  expect_corrupt(PackedByHand({UINT64_MAX, "a bomb"}), "packed files of 18446744073709551615 bytes");
  expect_corrupt(PackedByHand({100, LiteralBlock(100)}), "longer than what is packed");
  expect_corrupt(PackedByHand({10000, LiteralBlock(10000)}), "shorter than what is packed");
  const std::string packed = Packer().Encode(SomeCommits(3, 200, true), At(0));
  std::string version_1 = packed;
  version_1[3] = 1;
  expect_corrupt(version_1, "format version 1");
  // Another entry's bytes, plain, in front of the packed ones.
  Envelope two = SomeCommits(2, 200, true);
  const std::string plain = Encode(two);
  expect_corrupt(packed + plain.substr(2 + static_cast<size_t>(plain[1])), "stand beside packed ones");
  expect_corrupt(packed + std::string("\x2a\x00", 2), "field 5 stands twice");
}

}  // namespace
}  // namespace runnel::bus
