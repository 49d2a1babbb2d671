#include "bus/chunker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace runnel::bus {
namespace {

using testing::HasSubstr;
using Outcome = ChunkJoiner::Outcome;

Chunker::Options SomeOptions(uint64_t data_bytes) {
  Chunker::Options options;
  options.header.lineage = *ParseLineage("000102030405060708090a0b0c0d0e0f");
  options.header.epoch = Epoch(3);
  options.header.database = "orders";
  options.header.node = "node-a";
  options.header.page_size = PageSize(4096);
  options.entry.min_txid = Txid(5);
  options.entry.max_txid = Txid(9);
  options.entry.origin = Origin::kRange;
  options.data_bytes = data_bytes;
  return options;
}

std::string SomeFile(size_t size) {
  std::string file(size, '\0');
  for (size_t i = 0; i < size; ++i) file[i] = static_cast<char>(i * 131 + i / 251);
  return file;
}

// Cuts the file, given in pieces of `piece` bytes.
std::vector<std::string> Cut(const Chunker::Options& options, const std::string& file, size_t piece) {
  std::vector<std::string> payloads;
  Result<Chunker> chunker = Chunker::Make(options, [&payloads](const Envelope& chunk) {
    payloads.push_back(Encode(chunk));
    return Ok();
  });
  EXPECT_TRUE(chunker.ok());
  for (size_t at = 0; at < file.size(); at += piece) {
    EXPECT_TRUE(chunker->Write(AsBytes(std::string_view(file).substr(at, piece))).ok());
  }
  EXPECT_TRUE(chunker->Finish(Checksum(0x8000000000000001), 42).ok());
  EXPECT_EQ(chunker->chunk_count(), payloads.size());
  return payloads;
}

std::vector<Envelope> Decoded(const std::vector<std::string>& payloads) {
  std::vector<Envelope> out;
  for (const std::string& payload : payloads) {
    Result<Envelope> envelope = Decode(payload);
    EXPECT_TRUE(envelope.ok()) << envelope.error().message();
    if (envelope.ok()) out.push_back(*std::move(envelope));
  }
  return out;
}

Result<ChunkJoiner::Part> Add(ChunkJoiner& joiner, const Envelope& envelope) {
  return joiner.Add(envelope.header, std::get<Chunk>(envelope.body));
}

TEST(Chunker, WhatIsCutIsJoinedAgainWhateverTheSizes) {
  for (size_t size : {1u, 9u, 10u, 11u, 20u, 99u, 1000u}) {
    for (size_t piece : {1u, 3u, 10u, 64u, 2000u}) {
      std::string file = SomeFile(size);
      std::vector<Envelope> chunks = Decoded(Cut(SomeOptions(10), file, piece));
      ASSERT_EQ(chunks.size(), (size + 9) / 10);
      ChunkJoiner joiner;
      std::string joined;
      for (size_t i = 0; i < chunks.size(); ++i) {
        Result<ChunkJoiner::Part> part = Add(joiner, chunks[i]);
        ASSERT_TRUE(part.ok()) << part.error().message();
        EXPECT_EQ(part->outcome, i == 0 ? Outcome::kFirst : Outcome::kNext);
        EXPECT_EQ(part->complete, i + 1 == chunks.size());
        EXPECT_EQ(joiner.unfinished(), !part->complete);
        joined.append(part->data);
      }
      EXPECT_EQ(joined, file);
      const Chunk& last = std::get<Chunk>(chunks.back().body);
      EXPECT_EQ(last.ltx_bytes, size);
      EXPECT_EQ(last.ltx_checksum, 42u);
      EXPECT_EQ(ToString(chunks.back().header.position), "0000000000000009/8000000000000001");
    }
  }
}

TEST(Chunker, PayloadsNeverExceedWhatTheBusTakes) {
  Chunker::Options options = SomeOptions(kChunkDataBytes);
  options.header.node = std::string(3000, 'n');
  options.header.database = std::string(64, 'd');
  options.header.captured_at = CaptureTime(std::chrono::microseconds(INT64_MAX));
  options.header.epoch = Epoch(UINT64_MAX);
  options.payload_bytes_max = 20000;
  std::vector<std::string> payloads = Cut(options, SomeFile(100000), 7777);
  for (const std::string& payload : payloads) EXPECT_LE(payload.size(), 20000u);
  EXPECT_GT(payloads[0].size(), 12000u);  // and use what there is
}

TEST(Chunker, NoRoomForDataIsInvalid) {
  Chunker::Options options = SomeOptions(10);
  options.payload_bytes_max = kChunkHeadroomBytes;
  auto emit = [](const Envelope&) { return Ok(); };
  EXPECT_EQ(Chunker::Make(options, emit).code(), Errc::kInvalid);
  options = SomeOptions(0);
  EXPECT_EQ(Chunker::Make(options, emit).code(), Errc::kInvalid);
  options = SomeOptions(10);
  options.entry.min_txid = Txid(0);
  EXPECT_EQ(Chunker::Make(options, emit).code(), Errc::kInvalid);
}

TEST(Chunker, FileWithoutBytesIsInvalid) {
  Result<Chunker> chunker = Chunker::Make(SomeOptions(10), [](const Envelope&) { return Ok(); });
  ASSERT_TRUE(chunker.ok());
  EXPECT_EQ(chunker->Finish(Checksum::Empty(), 1).code(), Errc::kInvalid);
}

TEST(Chunker, FirstErrorOfTheBusEndsIt) {
  int calls = 0;
  Result<Chunker> chunker = Chunker::Make(SomeOptions(10), [&calls](const Envelope&) -> Status {
    ++calls;
    return Error(Errc::kConflict, "fenced");
  });
  ASSERT_TRUE(chunker.ok());
  std::string file = SomeFile(100);
  EXPECT_EQ(chunker->Write(AsBytes(file)).code(), Errc::kConflict);
  EXPECT_EQ(chunker->Write(AsBytes(file)).code(), Errc::kConflict);
  EXPECT_EQ(chunker->Finish(Checksum::Empty(), 1).code(), Errc::kConflict);
  EXPECT_EQ(calls, 1);
}

TEST(ChunkJoiner, MissingChunkIsAGapThatSaysWhich) {
  std::vector<Envelope> chunks = Decoded(Cut(SomeOptions(10), SomeFile(50), 50));
  ChunkJoiner joiner;
  ASSERT_TRUE(Add(joiner, chunks[0]).ok());
  Result<ChunkJoiner::Part> part = Add(joiner, chunks[2]);
  ASSERT_EQ(part.ok() ? Errc::kInvalid : part.code(), Errc::kGap);
  EXPECT_THAT(part.error().message(), HasSubstr("chunk 1 is missing"));
  EXPECT_EQ(Add(joiner, chunks[3]).code(), Errc::kGap);  // forgotten: nothing goes on but a new beginning
  EXPECT_EQ(Add(joiner, chunks[0])->outcome, Outcome::kFirst);
}

TEST(ChunkJoiner, MissingBeginningIsAGap) {
  std::vector<Envelope> chunks = Decoded(Cut(SomeOptions(10), SomeFile(50), 50));
  ChunkJoiner joiner;
  Result<ChunkJoiner::Part> part = Add(joiner, chunks[4]);
  ASSERT_EQ(part.ok() ? Errc::kInvalid : part.code(), Errc::kGap);
  EXPECT_THAT(part.error().message(), HasSubstr("beginning is missing"));
}

TEST(ChunkJoiner, RepeatedChunkIsADuplicateAndChangesNothing) {
  std::vector<Envelope> chunks = Decoded(Cut(SomeOptions(10), SomeFile(30), 50));
  ChunkJoiner joiner;
  ASSERT_TRUE(Add(joiner, chunks[0]).ok());
  ASSERT_TRUE(Add(joiner, chunks[1]).ok());
  Result<ChunkJoiner::Part> again = Add(joiner, chunks[1]);
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->outcome, Outcome::kDuplicate);
  EXPECT_TRUE(again->data.empty());
  EXPECT_TRUE(Add(joiner, chunks[2])->complete);
}

TEST(ChunkJoiner, PublisherThatStartsOverRestartsTheFile) {
  std::vector<Envelope> chunks = Decoded(Cut(SomeOptions(10), SomeFile(30), 50));
  ChunkJoiner joiner;
  ASSERT_TRUE(Add(joiner, chunks[0]).ok());
  ASSERT_TRUE(Add(joiner, chunks[1]).ok());
  for (Envelope& chunk : chunks) chunk.header.epoch = Epoch(4);
  EXPECT_EQ(Add(joiner, chunks[0])->outcome, Outcome::kRestart);
  EXPECT_EQ(Add(joiner, chunks[1])->outcome, Outcome::kNext);
  Envelope zombie = chunks[2];
  zombie.header.epoch = Epoch(3);
  EXPECT_EQ(Add(joiner, zombie)->outcome, Outcome::kStale);
  EXPECT_TRUE(Add(joiner, chunks[2])->complete);
}

TEST(ChunkJoiner, ChunkOfAnotherFileInTheMiddleIsAGap) {
  std::vector<Envelope> chunks = Decoded(Cut(SomeOptions(10), SomeFile(30), 50));
  Chunker::Options other = SomeOptions(10);
  other.entry.max_txid = Txid(10);
  std::vector<Envelope> foreign = Decoded(Cut(other, SomeFile(30), 50));
  ChunkJoiner joiner;
  ASSERT_TRUE(Add(joiner, chunks[0]).ok());
  EXPECT_EQ(Add(joiner, foreign[1]).code(), Errc::kGap);
  EXPECT_FALSE(joiner.unfinished());
}

TEST(ChunkJoiner, SizesMustAgreeAndStayBelowTheBound) {
  std::vector<Envelope> chunks = Decoded(Cut(SomeOptions(10), SomeFile(30), 50));
  ChunkJoiner joiner;
  std::get<Chunk>(chunks[1].body).data.pop_back();
  ASSERT_TRUE(Add(joiner, chunks[0]).ok());
  ASSERT_TRUE(Add(joiner, chunks[1]).ok());
  Result<ChunkJoiner::Part> part = Add(joiner, chunks[2]);
  ASSERT_EQ(part.ok() ? Errc::kInvalid : part.code(), Errc::kCorrupt);
  EXPECT_THAT(part.error().message(), HasSubstr("the parts have 29 bytes, the last one says 30"));
  ChunkJoiner bounded(15);
  ASSERT_TRUE(Add(bounded, chunks[0]).ok());
  EXPECT_EQ(Add(bounded, chunks[1]).code(), Errc::kExhausted);
}

}  // namespace
}  // namespace runnel::bus
