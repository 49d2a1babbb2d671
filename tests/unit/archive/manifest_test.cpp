#include "subscriber/archive/manifest.h"

#include <gtest/gtest.h>

#include "ltx/format/checksum.h"

namespace runnel::archive {
namespace {

bus::CaptureTime At(int64_t micros) { return bus::CaptureTime(std::chrono::microseconds(micros)); }

ArchivedObject Object(ObjectKind kind, uint8_t level, uint64_t min, uint64_t max) {
  ArchivedObject object;
  object.name = {kind, level, Txid(min), Txid(max)};
  object.page_count = 5;
  object.checksum = Checksum(Checksum::kFlag | max);
  object.captured_at = At(1700000000000000 + static_cast<int64_t>(max));
  object.bytes = 333;
  object.file_checksum = Checksum::kFlag | 77;
  return object;
}

Manifest SomeManifest() {
  Manifest manifest;
  manifest.revision = 12;
  for (size_t i = 0; i < manifest.lineage.bytes.size(); ++i) manifest.lineage.bytes[i] = static_cast<uint8_t>(i);
  manifest.epoch = bus::Epoch(3);
  manifest.page_size = PageSize(4096);
  manifest.database = "orders";
  manifest.writer = "node-a";
  manifest.written_at = At(1700000001000000);
  manifest.position = {Txid(9), Checksum(Checksum::kFlag | 9)};
  manifest.unproven_txid = Txid(8);
  manifest.captured_at = At(1700000000000009);
  manifest.incarnation = "a0a1";
  manifest.log_seq = bus::StreamSeq(44);
  ArchivedObject condemned = Object(ObjectKind::kLevel, 0, 2, 9);
  condemned.condemned_at = At(1700000000500000);
  manifest.Insert(condemned);
  manifest.Insert(Object(ObjectKind::kLevel, 9, 1, 1));
  manifest.Insert(Object(ObjectKind::kLevel, 1, 2, 9));
  ArchivedObject segment = Object(ObjectKind::kSegment, 0, 2, 9);
  segment.last_seq = bus::StreamSeq(44);
  manifest.Insert(segment);
  manifest.Insert(Object(ObjectKind::kSegment, 0, 1, 1));
  return manifest;
}

// Bytes with the checksum they should have.
std::string Sealed(std::string bytes) {
  bytes.resize(bytes.size() - 8);
  ltx::Crc64 crc;
  crc.Update(AsBytes(bytes));
  AppendBe64(bytes, crc.value());
  return bytes;
}

TEST(Manifest, ComesBackAsItWas) {
  Manifest manifest = SomeManifest();
  Result<Manifest> back = DecodeManifest(AsBytes(EncodeManifest(manifest)));
  ASSERT_TRUE(back.ok()) << back.error().message();
  EXPECT_EQ(*back, manifest);
}

TEST(Manifest, GoldenBytes) {
  Manifest manifest = SomeManifest();
  manifest.objects.resize(1);
  EXPECT_EQ(ToHex(AsBytes(EncodeManifest(manifest))),
            "524e4c4d414e49310000000100001000"  // magic, version, page size
            "000000000000000c"                  // revision
            "000102030405060708090a0b0c0d0e0f"  // lineage
            "0000000000000003"                  // epoch
            "00000000000000098000000000000009"  // position
            "0000000000000008"                  // unproven
            "00060a24181e400900060a24182d8240"  // captured at, written at
            "000000000000002c"                  // log sequence
            "00066f726465727300066e6f64652d61"  // database, writer
            "000461306131"                      // incarnation
            "00000001"                          // one object
            "0100000000000005"                  // level 0, 5 pages
            "00000000000000020000000000000009"  // TXIDs
            "800000000000000900060a24181e4009"  // checksum, captured at
            "000000000000014d800000000000004d"  // bytes, file checksum
            "000000000000000000060a241825e120"  // sequence, condemned at
            "c73e07404b570c96");
}

TEST(Manifest, KeepsObjectsSortedAndWithoutDoubles) {
  Manifest manifest = SomeManifest();
  ASSERT_EQ(manifest.objects.size(), 5u);
  ArchivedObject again = Object(ObjectKind::kLevel, 1, 2, 9);
  again.bytes = 999;
  manifest.Insert(again);
  ASSERT_EQ(manifest.objects.size(), 5u);
  ASSERT_NE(manifest.Find(again.name), nullptr);
  EXPECT_EQ(manifest.Find(again.name)->bytes, 999u);
  EXPECT_EQ(manifest.Find({ObjectKind::kLevel, 1, Txid(2), Txid(8)}), nullptr);
  EXPECT_TRUE(manifest.Live(ObjectKind::kLevel, 0).empty());
  EXPECT_EQ(manifest.Live(ObjectKind::kSegment, 0).size(), 2u);
  EXPECT_EQ(manifest.Live(ObjectKind::kSegment, 0)[0].name.max_txid, Txid(1));
}

TEST(Manifest, RefusesEveryTruncation) {
  const std::string bytes = EncodeManifest(SomeManifest());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeManifest(AsBytes(bytes).first(size)).code(), Errc::kCorrupt) << size;
  }
  EXPECT_EQ(DecodeManifest(AsBytes(bytes + '\0')).code(), Errc::kCorrupt);
}

TEST(Manifest, RefusesEveryFlippedBit) {
  const std::string good = EncodeManifest(SomeManifest());
  std::string bytes = good;
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_EQ(DecodeManifest(AsBytes(bytes)).code(), Errc::kCorrupt) << bit;
    bytes[bit / 8] = good[bit / 8];
  }
}

// With a right checksum: rules, not luck.
TEST(Manifest, NeverYieldsWhatItWouldNotWrite) {
  const std::string good = EncodeManifest(SomeManifest());
  std::string bytes = good;
  for (size_t bit = 0; bit < 8 * (bytes.size() - 8); ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    bytes = Sealed(bytes);
    Result<Manifest> back = DecodeManifest(AsBytes(bytes));
    if (back.ok()) {
      EXPECT_EQ(EncodeManifest(*back), bytes) << bit;
    }
    bytes = good;
  }
}

TEST(Manifest, SaysThatAVersionIsNewer) {
  std::string bytes = EncodeManifest(SomeManifest());
  bytes[11] = 2;
  EXPECT_EQ(DecodeManifest(AsBytes(Sealed(bytes))).code(), Errc::kUnsupported);
}

}  // namespace
}  // namespace runnel::archive
