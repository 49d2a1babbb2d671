// A large LTX read straight from a log: whole, broken off, and among what does not belong to it.
#include "bus/chunk_reader.h"

#include <gtest/gtest.h>

#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "ltx/base/bytes.h"

namespace runnel::bus {
namespace {

// Gives what it was made of; then it has nothing more.
class ListedReader : public LogReader {
 public:
  explicit ListedReader(std::vector<std::string> payloads) {
    for (std::string& payload : payloads) messages_.push_back({StreamSeq(++seq_), {}, std::move(payload)});
  }
  Result<Message> Next(SteadyTime, std::stop_token) override {
    if (messages_.empty()) return Error(Errc::kTimeout, "no message");
    Message message = std::move(messages_.front());
    messages_.pop_front();
    return message;
  }

 private:
  uint64_t seq_ = 0;
  std::deque<Message> messages_;
};

Header SomeHeader(uint64_t epoch = 3) {
  Header header;
  header.lineage = *ParseLineage("000102030405060708090a0b0c0d0e0f");
  header.epoch = Epoch(epoch);
  header.database = "orders";
  header.min_txid = Txid(5);
  header.position = {Txid(4), Checksum(Checksum::kFlag | 4)};
  header.page_size = PageSize(4096);
  return header;
}
std::string SomeHeartbeat(uint64_t epoch = 3) { return Encode({SomeHeader(epoch), Heartbeat{}}); }
std::string SomeMarker(uint64_t epoch) { return Encode({SomeHeader(epoch), TakeOverMarker{}}); }

// TXID 5 as chunks of ten bytes.
std::vector<std::string> Chunks(const std::string& file, uint64_t epoch = 3) {
  Chunker::Options options;
  options.header = SomeHeader(epoch);
  options.entry.min_txid = options.entry.max_txid = Txid(5);
  options.data_bytes = 10;
  std::vector<std::string> payloads;
  Result<Chunker> chunker = Chunker::Make(options, [&payloads](const Envelope& chunk) {
    payloads.push_back(Encode(chunk));
    return Ok();
  });
  EXPECT_TRUE(chunker->Write(AsBytes(file)).ok());
  EXPECT_TRUE(chunker->Finish(Checksum(Checksum::kFlag | 5), 1).ok());
  return payloads;
}

struct Outcome {
  Status status = Ok();
  std::string file;
  bool finished = false;
  StreamSeq last_seq;
  std::optional<Message> interruption;
};
// Reads the file that begins with the first payload, seven bytes at a time.
Outcome ReadAll(std::vector<std::string> payloads) {
  ListedReader reader(std::move(payloads));
  Message first = *reader.Next({}, {});
  ChunkReader chunks(reader, first.seq, *Decode(first.payload), {});
  Outcome outcome;
  std::vector<std::byte> buffer(7);
  while (true) {
    Result<size_t> got = chunks.Read(buffer);
    if (!got.ok()) outcome.status = got.error();
    if (!got.ok() || *got == 0) break;
    outcome.file += AsText(Bytes(buffer).first(*got));
  }
  if (!outcome.status.ok()) {
    EXPECT_FALSE(chunks.Read(buffer).ok()) << "an error must last";
  }
  outcome.finished = chunks.finished();
  outcome.last_seq = chunks.last_seq();
  outcome.interruption = chunks.TakeInterruption();
  return outcome;
}

const std::string kFile = "four-and-twenty blackbirds baked in a pie";

TEST(ChunkReader, GivesTheWholeFile) {
  for (size_t size : {1u, 7u, 10u, 11u, 40u}) {
    const std::string file = kFile.substr(0, size);
    const std::vector<std::string> chunks = Chunks(file);
    const Outcome outcome = ReadAll(chunks);
    EXPECT_TRUE(outcome.status.ok()) << outcome.status.error().message();
    EXPECT_EQ(outcome.file, file);
    EXPECT_TRUE(outcome.finished);
    EXPECT_EQ(outcome.last_seq, StreamSeq(chunks.size()));
  }
}

TEST(ChunkReader, PassesOverWhatDoesNotBelongToTheFile) {
  const std::vector<std::string> chunks = Chunks(kFile);
  const std::vector<std::string> void_chunks = Chunks("an older epoch's words, behind the takeover", 2);
  const Outcome outcome = ReadAll({chunks[0], SomeHeartbeat(), chunks[1], "no envelope", chunks[1], void_chunks[2],
                                   chunks[2], chunks[1], chunks[3], SomeHeartbeat(2), chunks[4]});
  EXPECT_TRUE(outcome.status.ok()) << outcome.status.error().message();
  EXPECT_EQ(outcome.file, kFile);
  EXPECT_TRUE(outcome.finished);
  EXPECT_EQ(outcome.last_seq, StreamSeq(11));
}

TEST(ChunkReader, HandsOnTheMessageThatCameInstead) {
  const std::vector<std::string> chunks = Chunks(kFile);
  for (const std::string& instead : {SomeMarker(4), chunks[0], chunks[3], Chunks(kFile, 4)[2]}) {
    const Outcome outcome = ReadAll({chunks[0], chunks[1], instead, chunks[2]});
    EXPECT_EQ(outcome.status.code(), Errc::kGap);
    EXPECT_EQ(outcome.file, kFile.substr(0, 20));
    EXPECT_FALSE(outcome.finished);
    EXPECT_EQ(outcome.last_seq, StreamSeq(2));
    ASSERT_TRUE(outcome.interruption.has_value());
    EXPECT_EQ(outcome.interruption->seq, StreamSeq(3));
    EXPECT_EQ(outcome.interruption->payload, instead);
  }
}

TEST(ChunkReader, SilenceIsTroubleOfTheBus) {
  std::vector<std::string> chunks = Chunks(kFile);
  chunks.pop_back();
  const Outcome outcome = ReadAll(chunks);
  EXPECT_EQ(outcome.status.code(), Errc::kUnavailable);
  EXPECT_FALSE(outcome.finished);
  EXPECT_FALSE(outcome.interruption.has_value());
}

TEST(ChunkReader, ChunksThatDoNotAgreeAboutTheSizeAreCorrupt) {
  std::vector<std::string> chunks = Chunks(kFile);
  Envelope last = *Decode(chunks.back());
  std::get<Chunk>(last.body).ltx_bytes += 1;
  chunks.back() = Encode(last);
  const Outcome outcome = ReadAll(chunks);
  EXPECT_EQ(outcome.status.code(), Errc::kCorrupt);
  EXPECT_FALSE(outcome.finished);
}

}  // namespace
}  // namespace runnel::bus
