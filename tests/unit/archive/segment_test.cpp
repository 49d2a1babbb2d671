#include "subscriber/archive/segment.h"

#include <gtest/gtest.h>

#include "subscriber/archive/segment_format.h"

namespace runnel::archive {
namespace {

bus::Lineage SomeLineage() {
  bus::Lineage lineage;
  for (size_t i = 0; i < lineage.bytes.size(); ++i) lineage.bytes[i] = static_cast<uint8_t>(0xa0 + i);
  return lineage;
}

bus::CaptureTime At(uint64_t micros) { return FromMicros(micros); }

SegmentRecord Record(uint64_t min, uint64_t max, bus::Origin origin = bus::Origin::kCommit) {
  SegmentRecord record;
  record.min_txid = Txid(min);
  record.max_txid = Txid(max);
  record.origin = origin;
  record.captured_at = At(1700000000000000 + max);
  record.checksum = Checksum(Checksum::kFlag | max);
  record.seq = bus::StreamSeq(10 * max);
  return record;
}

// The writer does not look into the files.
std::string File(uint64_t txid, size_t bytes) { return std::string(bytes, static_cast<char>('a' + txid % 26)); }

struct Built {
  std::string bytes;
  SegmentSummary summary;
};

Built Build(uint64_t first, uint64_t last, size_t file_bytes) {
  ltx::StringSink sink;
  SegmentWriter writer(sink, SomeLineage(), PageSize(4096));
  EXPECT_TRUE(writer.Begin().ok());
  for (uint64_t txid = first; txid <= last; ++txid) {
    EXPECT_TRUE(writer.AddFile(Record(txid, txid), AsBytes(File(txid, file_bytes))).ok());
  }
  Result<SegmentSummary> summary = writer.Finish();
  EXPECT_TRUE(summary.ok());
  return {sink.Take(), *summary};
}

// Everything a segment holds, as text; an error if any part of it is not sound.
Result<std::string> ReadAll(const std::string& bytes) {
  ltx::RandomBytesSource source(AsBytes(bytes));
  TRY_ASSIGN(SegmentReader reader, SegmentReader::Open(source));
  std::string all = EncodeSegmentFooter(reader.summary(), 0);
  for (const SegmentBlock& block : reader.blocks()) {
    TRY_ASSIGN(SegmentReader::Block whole, reader.ReadBlock(block, 64 << 20));
    TRY_ASSIGN(std::vector<SegmentRecord> records, reader.ReadRecords(block));
    EXPECT_EQ(records, whole.records);
    for (const SegmentRecord& record : records) {
      all += EncodeSegmentRecord(record);
      all += AsText(whole.File(record, block));
    }
  }
  return all;
}

TEST(Segment, ComesBackAsItWas) {
  Built built = Build(5, 900, 1000);
  ltx::RandomBytesSource source(AsBytes(built.bytes));
  Result<SegmentReader> reader = SegmentReader::Open(source);
  ASSERT_TRUE(reader.ok()) << reader.error().message();
  EXPECT_EQ(reader->summary(), built.summary);
  EXPECT_EQ(built.summary.record_count, 896u);
  EXPECT_EQ(built.summary.block_count, 4u);
  EXPECT_EQ(built.summary.checksum, Checksum(Checksum::kFlag | 900));
  uint64_t txid = 5;
  for (const SegmentBlock& block : reader->blocks()) {
    Result<SegmentReader::Block> whole = reader->ReadBlock(block, 1 << 20);
    ASSERT_TRUE(whole.ok());
    for (const SegmentRecord& record : whole->records) {
      EXPECT_EQ(record.max_txid, Txid(txid));
      EXPECT_EQ(record.seq, bus::StreamSeq(10 * txid));
      EXPECT_EQ(AsText(whole->File(record, block)), File(txid, 1000));
      ++txid;
    }
  }
  EXPECT_EQ(txid, 901u);
}

TEST(Segment, FindsTheBlockOfATxid) {
  Built built = Build(5, 900, 1000);
  ltx::RandomBytesSource source(AsBytes(built.bytes));
  Result<SegmentReader> reader = SegmentReader::Open(source);
  ASSERT_TRUE(reader.ok());
  for (uint64_t after = 0; after < 905; ++after) {
    const size_t found = reader->FirstBlockBehind(Txid(after));
    if (found > 0) {
      EXPECT_LE(reader->blocks()[found - 1].max_txid, Txid(after));
    }
    if (found < reader->blocks().size()) {
      EXPECT_GT(reader->blocks()[found].max_txid, Txid(after));
    }
  }
}

TEST(Segment, TakesFilesInPieces) {
  ltx::StringSink sink;
  SegmentWriter writer(sink, SomeLineage(), PageSize(4096));
  ASSERT_TRUE(writer.Begin().ok());
  ASSERT_TRUE(writer.AddFile(Record(7, 7), AsBytes(File(7, 200))).ok());
  const std::string file = File(8, 3 << 20);
  for (size_t at = 0; at < file.size(); at += 100000) {
    ASSERT_TRUE(writer.WriteFile(AsBytes(std::string_view(file).substr(at, 100000))).ok());
  }
  ASSERT_TRUE(writer.EndFile(Record(8, 20, bus::Origin::kDelta)).ok());
  ASSERT_TRUE(writer.Finish().ok());
  const std::string bytes = sink.Take();
  ltx::RandomBytesSource source(AsBytes(bytes));
  Result<SegmentReader> reader = SegmentReader::Open(source);
  ASSERT_TRUE(reader.ok());
  ASSERT_EQ(reader->blocks().size(), 1u);
  EXPECT_EQ(reader->ReadBlock(reader->blocks()[0], 1 << 20).code(), Errc::kExhausted);
  Result<std::vector<SegmentRecord>> records = reader->ReadRecords(reader->blocks()[0]);
  ASSERT_TRUE(records.ok());
  EXPECT_EQ(AsText(AsBytes(bytes).subspan((*records)[1].ltx_offset, (*records)[1].ltx_bytes)), file);
  EXPECT_EQ((*records)[1].origin, bus::Origin::kDelta);
}

TEST(Segment, TakesBlocksOfOthersAsTheyAre) {
  Built first = Build(1, 300, 1000);
  Built second = Build(301, 600, 1000);
  ltx::StringSink sink;
  SegmentWriter writer(sink, SomeLineage(), PageSize(4096));
  ASSERT_TRUE(writer.Begin().ok());
  for (const Built* part : {&first, &second}) {
    ltx::RandomBytesSource source(AsBytes(part->bytes));
    Result<SegmentReader> reader = SegmentReader::Open(source);
    ASSERT_TRUE(reader.ok());
    for (const SegmentBlock& block : reader->blocks()) {
      Result<std::vector<SegmentRecord>> records = reader->ReadRecords(block);
      ASSERT_TRUE(records.ok());
      ltx::BytesSource bytes(AsBytes(part->bytes).subspan(block.offset));
      ASSERT_TRUE(writer.CopyBlock(block, records->back(), bytes).ok());
    }
  }
  ASSERT_TRUE(writer.Finish().ok());
  // But for the sizes of its blocks it is the segment that would have been written at once.
  EXPECT_EQ(ReadAll(sink.Take()).ok(), true);
  ltx::StringSink damaged_sink;
  SegmentWriter damaged(damaged_sink, SomeLineage(), PageSize(4096));
  ASSERT_TRUE(damaged.Begin().ok());
  ltx::RandomBytesSource source(AsBytes(first.bytes));
  Result<SegmentReader> reader = SegmentReader::Open(source);
  ASSERT_TRUE(reader.ok());
  std::string spoilt = first.bytes.substr(reader->blocks()[0].offset);
  spoilt[5000] ^= 1;
  ltx::BytesSource bytes(AsBytes(spoilt));
  SegmentRecord last = Record(1, reader->blocks()[0].max_txid.raw());
  EXPECT_EQ(damaged.CopyBlock(reader->blocks()[0], last, bytes).code(), Errc::kCorrupt);
  EXPECT_FALSE(damaged.Finish().ok());
}

TEST(Segment, RefusesWhatLeavesATxidOut) {
  struct Case {
    uint64_t min, max;
    bool fits;
  };
  for (const Case& c : {Case{8, 8, true}, Case{3, 9, true}, Case{1, 100, true}, Case{9, 9, false}, Case{7, 7, false},
                        Case{1, 7, false}, Case{0, 8, false}, Case{9, 8, false}}) {
    ltx::StringSink sink;
    SegmentWriter writer(sink, SomeLineage(), PageSize(4096));
    ASSERT_TRUE(writer.Begin().ok());
    ASSERT_TRUE(writer.AddFile(Record(7, 7), AsBytes(File(7, 200))).ok());
    EXPECT_EQ(writer.AddFile(Record(c.min, c.max), AsBytes(File(8, 200))).ok(), c.fits) << c.min << "-" << c.max;
  }
}

TEST(Segment, RefusesToEndWithoutAnything) {
  ltx::StringSink sink;
  SegmentWriter writer(sink, SomeLineage(), PageSize(4096));
  ASSERT_TRUE(writer.Begin().ok());
  EXPECT_EQ(writer.Finish().code(), Errc::kInvalid);
}

TEST(Segment, RefusesEveryTruncation) {
  const std::string bytes = Build(3, 6, 140).bytes;
  ASSERT_TRUE(ReadAll(bytes).ok());
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(ReadAll(bytes.substr(0, size)).code(), Errc::kCorrupt) << size;
  }
  EXPECT_EQ(ReadAll(bytes + '\0').code(), Errc::kCorrupt);
  EXPECT_EQ(ReadAll('\0' + bytes).code(), Errc::kCorrupt);
}

TEST(Segment, RefusesEveryFlippedBit) {
  const std::string good = Build(3, 6, 140).bytes;
  std::string bytes = good;
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    bytes[bit / 8] = static_cast<char>(bytes[bit / 8] ^ (1 << (bit % 8)));
    Result<std::string> read = ReadAll(bytes);
    EXPECT_FALSE(read.ok()) << bit;
    if (!read.ok()) {
      EXPECT_TRUE(read.code() == Errc::kCorrupt || (read.code() == Errc::kUnsupported && bit / 8 < 12));
    }
    bytes[bit / 8] = good[bit / 8];
  }
}

TEST(Segment, GoldenBytes) {
  const Built built = Build(7, 7, 131);
  const std::string file = ToHex(AsBytes(File(7, 131)));
  EXPECT_EQ(ToHex(AsBytes(built.bytes)),
            "524e4c5345474d310000000100000000" +    // magic, version
                file +                              // one LTX file
                "00000000000000070000000000000007"  // its record: TXIDs
                "00060a24181e40078000000000000007"  // captured at, checksum
                "00000000000000830000000000000046"  // bytes of the file, sequence
                "0000000000000000"                  // origin
                "000000000000001000000000000000bb"  // the index entry of the block: offset, bytes
                "00000000000000070000000000000007"  // TXIDs
                "00060a24181e400700060a24181e4007"  // first and last captured at
                "f5c98906546048adb7574253ca818166"  // checksums of records and block
                "0000000100000000"                  // one record
                "524e4c5345474631"                  // the footer: magic
                "a0a1a2a3a4a5a6a7a8a9aaabacadaeaf"  // lineage
                "0000100000000001"                  // page size, one block
                "0000000000000001"                  // one record
                "00000000000000070000000000000007"  // TXIDs
                "800000000000000700000000000000cb"  // checksum, offset of the index
                "00000000000000000000000000000000"
                "8327dcba504905b4");  // file checksum
}

}  // namespace
}  // namespace runnel::archive
