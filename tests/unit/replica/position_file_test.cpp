#include "subscriber/replica/position_file.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/support/temp_dir.h"

namespace runnel::replica {
namespace {

PositionRecord Sample() {
  PositionRecord record;
  record.clean = true;
  record.unsynced = true;
  record.page_size = PageSize(4096);
  record.boot = {0xb0, 1, 2, 3};
  record.durable = {Txid(5), Checksum(0x8000000000000005)};
  record.stamp = {.inode = 77, .bytes = 8192, .mtime_ns = 123456789};
  record.lo = {.lineage = {0x11, 0x22},
               .position = {Txid(6), Checksum(0x8000000000000006)},
               .page_count = 2,
               .log_sequence = 60,
               .wal = {{0x01020304, 0x05060708}, 9, {10, 11}}};
  record.hi = {.lineage = {0x11, 0x22},
               .position = {Txid(7), Checksum(0x8000000000000007)},
               .page_count = 3,
               .log_sequence = 70,
               .wal = {{0x01020304, 0x05060708}, 12, {13, 14}}};
  return record;
}

std::string Encoded(const PositionRecord& record, uint64_t sequence) {
  std::string bytes(PositionFile::kSlotBytes, '\0');
  PositionFile::Encode(record, sequence, reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

TEST(PositionFile, SlotHasItsGoldenBytes) {
  EXPECT_EQ(ToHex(AsBytes(Encoded(Sample(), 42))),
            "524e4c504f533031000000000000002a0000000500001000b00102030000000000000000000000000000000000000005"
            "8000000000000005000000000000004d000000000000200000000000075bcd1511220000000000000000000000000000"
            "0000000000000006800000000000000600000002000000000000003c0403020108070605000000090000000a0000000b"
            "000000000000000011220000000000000000000000000000000000000000000780000000000000070000000300000000"
            "0000004604030201080706050000000c0000000d0000000e000000000000000096d19a36f1c9ffea");
}

TEST(PositionFile, SlotRoundTrips) {
  std::string bytes = Encoded(Sample(), 42);
  auto slot = PositionFile::Decode(AsBytes(bytes));
  ASSERT_TRUE(slot.has_value());
  EXPECT_EQ(slot->sequence, 42u);
  EXPECT_EQ(Encoded(slot->record, 42), bytes);
  EXPECT_EQ(slot->record.hi.position, Sample().hi.position);
  EXPECT_TRUE(slot->record.hi.wal.Matches(Sample().hi.wal));
  EXPECT_EQ(slot->record.stamp, Sample().stamp);
}

TEST(PositionFile, EveryTruncationAndEveryFlippedBitIsNoticed) {
  std::string bytes = Encoded(Sample(), 42);
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(PositionFile::Decode(AsBytes(std::string_view(bytes).substr(0, size))).has_value()) << size;
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
    EXPECT_FALSE(PositionFile::Decode(AsBytes(bytes)).has_value()) << bit;
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ 1 << bit % 8);
  }
}

TEST(PositionFile, AHalfWrittenSlotLeavesTheOneBefore) {
  testing::TempDir dir;
  std::string path = dir / "position";
  PositionRecord record = Sample();
  {
    auto file = PositionFile::Create(path, record);
    ASSERT_TRUE(file.ok());
    for (uint64_t txid = 10; txid < 15; ++txid) {
      record.lo.position.txid = Txid(txid);
      (*file)->Write(record);
    }
  }
  EXPECT_EQ((*PositionFile::Open(path))->record().lo.position.txid, Txid(14));
  {
    std::fstream bytes(path, std::ios::in | std::ios::out | std::ios::binary);
    bytes.seekp(static_cast<std::streamoff>(PositionFile::kSlotOffsets[6 % 2]) + 90);  // the sixth write
    bytes.put('x');
  }
  EXPECT_EQ((*PositionFile::Open(path))->record().lo.position.txid, Txid(13));
  std::filesystem::resize_file(path, 100);
  EXPECT_EQ(PositionFile::Open(path).code(), Errc::kCorrupt);
  std::filesystem::remove(path);
  EXPECT_EQ(PositionFile::Open(path).code(), Errc::kNotFound);
}

TEST(WalIdentity, TwoUnusedWalsAreNotTheSame) {
  EXPECT_FALSE(WalIdentity().Matches(WalIdentity()));
  WalIdentity wal{{1, 2}, 3, {4, 5}};
  EXPECT_TRUE(wal.Matches(wal));
  WalIdentity other = wal;
  other.frame_checksum[1] = 6;
  EXPECT_FALSE(wal.Matches(other));
}

}  // namespace
}  // namespace runnel::replica
