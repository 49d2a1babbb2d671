// The bytes of segments and leader file, and reading them while they are cut or damaged.
#include "bus/file/segment.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "bus/file/log_dir.h"
#include "bus/file/segment_scanner.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/bus/document_bytes.h"

namespace runnel::bus::file {
namespace {

using Kind = ScanStep::Kind;

Incarnation SomeIncarnation() {
  Incarnation incarnation;
  for (size_t i = 0; i < incarnation.bytes.size(); ++i) incarnation.bytes[i] = static_cast<std::byte>(0xa0 + i);
  return incarnation;
}

WallTime Micros(int64_t micros) { return WallTime(std::chrono::microseconds(micros)); }

const std::vector<std::string> kPayloads = {"first", "", "the third one", std::string(40, '\0'), "RNLr", "last"};

// A segment that starts at sequence 7 with kPayloads, each record knowing that `synced` of the one before were on disk.
std::string SomeSegment(bool synced) {
  std::string bytes = EncodeSegmentHeader({SomeIncarnation(), StreamSeq(7), Micros(1000)});
  for (size_t i = 0; i < kPayloads.size(); ++i) {
    uint32_t synced_bytes = synced ? static_cast<uint32_t>(bytes.size()) : static_cast<uint32_t>(kSegmentHeaderBytes);
    AppendRecord(bytes, SomeIncarnation(), StreamSeq(7 + i), Micros(2000 + static_cast<int64_t>(i)), synced_bytes,
                 kPayloads[i]);
  }
  return bytes;
}

class SegmentTest : public ::testing::Test {
 protected:
  Result<SegmentScanner> Scan(const std::string& bytes) {
    std::filesystem::remove(path_);  // ext4 syncs a file that is truncated and written again
    std::ofstream(path_, std::ios::binary) << bytes;
    return SegmentScanner::Open(path_, StreamSeq(7), SomeIncarnation());
  }
  // Payloads up to the first step that is no record, which goes to `end`.
  static std::vector<std::string> Payloads(SegmentScanner& scanner, Kind& end) {
    std::vector<std::string> out;
    while (true) {
      Result<ScanStep> step = scanner.Next();
      EXPECT_TRUE(step.ok());
      end = step->kind;
      if (!step.ok() || end != Kind::kRecord) return out;
      EXPECT_EQ(step->header.seq.raw(), 7 + out.size());
      out.emplace_back(step->payload);
    }
  }
  static void ExpectPrefix(const std::vector<std::string>& got) {
    ASSERT_LE(got.size(), kPayloads.size());
    for (size_t i = 0; i < got.size(); ++i) EXPECT_EQ(got[i], kPayloads[i]);
  }

  runnel::testing::TempDir dir_;
  std::string path_ = (dir_ / "segment").string();
};

TEST(Crc32c, HasTheCheckValueOfCastagnoli) {
  EXPECT_EQ(Crc32c(AsBytes("123456789")), 0xe3069283u);
  EXPECT_EQ(Crc32c(AsBytes("6789"), Crc32c(AsBytes("12345"))), 0xe3069283u);
}

TEST(SegmentFormat, GoldenBytesOfASegmentHeader) {
  EXPECT_EQ(ToHex(AsBytes(EncodeSegmentHeader({SomeIncarnation(), StreamSeq(7), Micros(1700000000123456)}))),
            "524e4c5345473031fec85ed000000001"  // magic, CRC-32C of what follows, version
            "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"  // incarnation
            "000000000000000700060a2418202240"  // first sequence, created
            "00000000000000000000000000000000");
}

TEST(SegmentFormat, GoldenBytesOfARecord) {
  std::string out;
  AppendRecord(out, SomeIncarnation(), StreamSeq(7), Micros(1700000000123456), 64, "hello");
  EXPECT_EQ(ToHex(AsBytes(out)),
            "524e4c726c50acb6"                  // magic, CRC-32C of the incarnation and the next 28 bytes
            "000000000000000700060a2418202240"  // sequence, stored at
            "000000059a71bb4c00000040"          // payload bytes, payload CRC-32C, bytes known to be on disk
            "68656c6c6f");
}

TEST(SegmentFormat, ExampleOfTheDocumentIsWhatWeWrite) {
  std::string out;
  AppendRecord(out, SomeIncarnation(), StreamSeq(7), Micros(1700000000123456), 64, "hello");
  EXPECT_EQ(ToHex(AsBytes(DocumentBytes("bus/file/SEGMENT.md"))), ToHex(AsBytes(out)));
}

TEST(SegmentFormat, GoldenBytesOfALeaderFile) {
  EXPECT_EQ(ToHex(AsBytes(EncodeLeader({SomeIncarnation(), 3, StreamSeq(42)}))),
            "524e4c4c45414431c78ad8e800000001"  // magic, CRC-32C of what follows, version
            "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"  // incarnation
            "0000000000000003000000000000002a"  // fence, first sequence
            "00000000000000000000000000000000");
}

TEST(SegmentFormat, LeaderFileComesBackAndNoFlippedBitIsTaken) {
  LeaderState state{SomeIncarnation(), 3, StreamSeq(42)};
  std::string bytes = EncodeLeader(state);
  Result<LeaderState> got = DecodeLeader(AsBytes(bytes));
  ASSERT_TRUE(got.ok());
  EXPECT_EQ(got->incarnation, state.incarnation);
  EXPECT_EQ(got->fence, 3u);
  EXPECT_EQ(got->first_seq, StreamSeq(42));
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_FALSE(DecodeLeader(AsBytes(std::string_view(bytes).substr(0, size))).ok()) << size;
  }
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    EXPECT_FALSE(DecodeLeader(AsBytes(flipped)).ok()) << bit;
  }
}

TEST_F(SegmentTest, RecordsComeBackInOrder) {
  Result<SegmentScanner> scanner = Scan(SomeSegment(true));
  ASSERT_TRUE(scanner.ok()) << scanner.error().message();
  EXPECT_EQ(scanner->header().created_at, Micros(1000));
  Kind end = Kind::kBad;
  EXPECT_EQ(Payloads(*scanner, end), kPayloads);
  EXPECT_EQ(end, Kind::kEnd);
  EXPECT_EQ(scanner->next_seq(), StreamSeq(13));
}

TEST_F(SegmentTest, CutAnywhereItYieldsTheWholeRecordsBeforeTheCut) {
  std::string bytes = SomeSegment(true);
  size_t whole_before = 0;
  for (size_t size = 0; size < bytes.size(); ++size) {
    Result<SegmentScanner> scanner = Scan(bytes.substr(0, size));
    if (size < kSegmentHeaderBytes) {
      EXPECT_FALSE(scanner.ok()) << size;
      continue;
    }
    ASSERT_TRUE(scanner.ok());
    Kind end = Kind::kBad;
    std::vector<std::string> got = Payloads(*scanner, end);
    ExpectPrefix(got);
    EXPECT_GE(got.size(), whole_before);
    whole_before = got.size();
    EXPECT_EQ(end, scanner->offset() == size ? Kind::kEnd : Kind::kPartial) << size;
    EXPECT_FALSE(scanner->FindDamage()->has_value());  // a cut is never damage
  }
  EXPECT_EQ(whole_before, kPayloads.size() - 1);
}

// Records are read piece by piece; a piece has 64 KiB.
TEST_F(SegmentTest, RecordsLargerThanOneReadComeWholeOrNotAtAll) {
  const size_t sizes[] = {70000, 3, 65536 - kRecordHeaderBytes, 200001, 0, 65536};
  std::vector<std::string> payloads;
  std::string bytes = EncodeSegmentHeader({SomeIncarnation(), StreamSeq(7), Micros(1000)});
  for (const size_t size : sizes) {
    payloads.push_back(std::string(size, static_cast<char>('a' + payloads.size())));
    AppendRecord(bytes, SomeIncarnation(), StreamSeq(6 + payloads.size()), Micros(2000),
                 static_cast<uint32_t>(bytes.size()), payloads.back());
  }
  Kind end = Kind::kBad;
  Result<SegmentScanner> scanner = Scan(bytes);
  ASSERT_TRUE(scanner.ok());
  EXPECT_EQ(Payloads(*scanner, end), payloads);
  EXPECT_EQ(end, Kind::kEnd);
  scanner = Scan(bytes);
  for (size_t i = 0; i < payloads.size(); ++i) {
    Result<ScanStep> step = i % 2 == 0 ? scanner->Pass() : scanner->Next();
    ASSERT_TRUE(step.ok());
    EXPECT_EQ(step->kind, Kind::kRecord);
    EXPECT_EQ(step->payload, i % 2 == 0 ? std::string() : payloads[i]);
  }
  const size_t large =
      kSegmentHeaderBytes + 3 * kRecordHeaderBytes + sizes[0] + sizes[1] + sizes[2];  // of 200001 bytes
  for (const size_t at :
       {large + kRecordHeaderBytes, large + 65536, large + 131071, large + kRecordHeaderBytes + 200000}) {
    scanner = Scan(bytes.substr(0, at));
    EXPECT_EQ(Payloads(*scanner, end).size(), 3u);
    EXPECT_EQ(end, Kind::kPartial) << at;
    std::string flipped = bytes;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    scanner = Scan(flipped);
    EXPECT_EQ(Payloads(*scanner, end).size(), 3u);
    EXPECT_EQ(end, Kind::kBad) << at;
    EXPECT_EQ(scanner->offset(), large);
    Result<std::optional<SegmentScanner::Place>> behind = scanner->FindDamage();
    ASSERT_TRUE(behind.ok() && *behind);
    EXPECT_EQ((*behind)->seq, StreamSeq(11));
  }
}

TEST_F(SegmentTest, GrowingFileIsReadOnFromWhereItEnded) {
  std::string bytes = SomeSegment(true);
  Result<SegmentScanner> scanner = Scan(bytes.substr(0, kSegmentHeaderBytes));
  ASSERT_TRUE(scanner.ok());
  std::vector<std::string> got;
  for (size_t size = kSegmentHeaderBytes; size <= bytes.size(); ++size) {
    if (size > kSegmentHeaderBytes) std::ofstream(path_, std::ios::binary | std::ios::app) << bytes[size - 1];
    Kind end = Kind::kBad;
    for (int again = 0; again < 2; ++again) {
      Result<ScanStep> step = scanner->Next();
      ASSERT_TRUE(step.ok());
      end = step->kind;
      if (end == Kind::kRecord) got.emplace_back(step->payload);
    }
    ASSERT_NE(end, Kind::kBad);
  }
  EXPECT_EQ(got, kPayloads);
}

TEST_F(SegmentTest, FlippedBitNeverYieldsAnAlteredRecordAndIsFoundToBeDamage) {
  std::string bytes = SomeSegment(true);
  size_t last_record = bytes.size() - kRecordHeaderBytes - kPayloads.back().size();
  for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    Result<SegmentScanner> scanner = Scan(flipped);
    if (bit / 8 < kSegmentHeaderBytes) {
      EXPECT_FALSE(scanner.ok()) << bit;
      continue;
    }
    ASSERT_TRUE(scanner.ok());
    Kind end = Kind::kEnd;
    std::vector<std::string> got = Payloads(*scanner, end);
    ExpectPrefix(got);
    ASSERT_LT(got.size(), kPayloads.size());
    EXPECT_EQ(end, Kind::kBad) << bit;
    Result<std::optional<SegmentScanner::Place>> behind = scanner->FindDamage();
    ASSERT_TRUE(behind.ok());
    // Only the last record has nobody behind it who knows that it had been on disk.
    ASSERT_EQ(behind->has_value(), bit / 8 < last_record) << bit;
    if (*behind) {
      EXPECT_EQ((*behind)->seq.raw(), 7 + got.size() + 1);
      scanner->Seek((*behind)->offset, (*behind)->seq);
      EXPECT_EQ(scanner->Next()->kind, Kind::kRecord);
    }
  }
}

TEST_F(SegmentTest, WholeRecordsBehindATornOneThatNobodySawOnDiskAreTornToo) {
  std::string bytes = SomeSegment(false);
  bytes[kSegmentHeaderBytes + 50] ^= 1;  // in the second record
  Result<SegmentScanner> scanner = Scan(bytes);
  ASSERT_TRUE(scanner.ok());
  Kind end = Kind::kEnd;
  EXPECT_EQ(Payloads(*scanner, end).size(), 1u);
  EXPECT_EQ(end, Kind::kBad);
  EXPECT_FALSE(scanner->FindDamage()->has_value());
}

TEST_F(SegmentTest, ZerosBehindTheRecordsAreATornTail) {
  Result<SegmentScanner> scanner = Scan(SomeSegment(true) + std::string(5000, '\0'));
  ASSERT_TRUE(scanner.ok());
  Kind end = Kind::kEnd;
  EXPECT_EQ(Payloads(*scanner, end), kPayloads);
  EXPECT_EQ(end, Kind::kBad);
  EXPECT_FALSE(scanner->FindDamage()->has_value());
}

TEST_F(SegmentTest, DamageOfManyMegabytesIsPassedOver) {
  std::string bytes = SomeSegment(true);
  size_t damaged_at = bytes.size();
  AppendRecord(bytes, SomeIncarnation(), StreamSeq(13), Micros(3000), static_cast<uint32_t>(damaged_at),
               std::string(3 << 20, 'R'));
  size_t behind_at = bytes.size();
  AppendRecord(bytes, SomeIncarnation(), StreamSeq(14), Micros(3000), static_cast<uint32_t>(behind_at), "behind");
  bytes[damaged_at] ^= 1;
  Result<SegmentScanner> scanner = Scan(bytes);
  ASSERT_TRUE(scanner.ok());
  Kind end = Kind::kEnd;
  Payloads(*scanner, end);
  Result<std::optional<SegmentScanner::Place>> behind = scanner->FindDamage();
  ASSERT_TRUE(behind.ok() && behind->has_value());
  EXPECT_EQ((*behind)->offset, behind_at);
}

TEST_F(SegmentTest, RecordsOfAnotherLogAreNotRecords) {
  Incarnation other = SomeIncarnation();
  other.bytes[0] = std::byte{0};
  std::string bytes = EncodeSegmentHeader({SomeIncarnation(), StreamSeq(7), Micros(1000)});
  AppendRecord(bytes, other, StreamSeq(7), Micros(2000), 64, "foreign");
  Result<SegmentScanner> scanner = Scan(bytes);
  ASSERT_TRUE(scanner.ok());
  EXPECT_EQ(scanner->Next()->kind, Kind::kBad);
  EXPECT_EQ(SegmentScanner::Open(path_, StreamSeq(7), other).code(), Errc::kCorrupt);
  EXPECT_EQ(SegmentScanner::Open(path_, StreamSeq(8), SomeIncarnation()).code(), Errc::kCorrupt);
}

}  // namespace
}  // namespace runnel::bus::file
