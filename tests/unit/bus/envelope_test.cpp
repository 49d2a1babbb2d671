#include "bus/envelope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "bus/commits_view.h"
#include "bus/outline.h"
#include "ltx/base/bytes.h"
#include "tests/unit/bus/document_bytes.h"

namespace runnel::bus {
namespace {

using testing::HasSubstr;

Header SomeHeader(uint64_t min_txid, uint64_t max_txid) {
  Header header;
  header.lineage = *ParseLineage("000102030405060708090a0b0c0d0e0f");
  header.epoch = Epoch(3);
  header.database = "orders";
  header.min_txid = Txid(min_txid);
  header.position = {Txid(max_txid), Checksum(0x8123456789abcdef)};
  header.node = "node-a";
  header.captured_at = CaptureTime(std::chrono::microseconds(1700000000123456));
  header.page_size = PageSize(4096);
  return header;
}

Entry SomeEntry(uint64_t min_txid, uint64_t max_txid, Origin origin, std::string ltx) {
  Entry entry;
  entry.min_txid = Txid(min_txid);
  entry.max_txid = Txid(max_txid);
  entry.origin = origin;
  entry.captured_at = CaptureTime(std::chrono::microseconds(1700000000123000));
  entry.wal_checksum = 0x1122334455667788;
  entry.ltx = std::move(ltx);
  return entry;
}

Envelope SomeCommits() {
  Commits commits;
  commits.entries.push_back(SomeEntry(7, 7, Origin::kCommit, "LTX1-seven"));
  commits.entries.push_back(SomeEntry(8, 10, Origin::kRange, std::string("LTX1\0eight", 10)));
  commits.entries.push_back(SomeEntry(11, 12, Origin::kDelta, "LTX1-eleven"));
  return {SomeHeader(7, 12), std::move(commits)};
}

Envelope SomeChunk(uint32_t index, bool last) {
  Chunk chunk;
  chunk.entry = SomeEntry(1, 9, Origin::kSnapshot, "");
  chunk.index = index;
  chunk.last = last;
  chunk.data = "chunk data";
  if (last) {
    chunk.ltx_checksum = 0x99aabbccddeeff00;
    chunk.ltx_bytes = index == 0 ? chunk.data.size() : 1000;
  }
  Header header = SomeHeader(1, 9);
  if (!last) header.position.checksum = Checksum(0);
  return {header, chunk};
}

Envelope SomeSnapshotRef() {
  const Position image{Txid(9), Checksum(0x8000000000000099)};
  return {SomeHeader(13, 12), SnapshotRef{"s3://bucket/prefix", "0009/1-9.ltx", image}};
}
Envelope SomeHeartbeat() { return {SomeHeader(13, 12), Heartbeat{}}; }

Envelope SomeTakeOver() {
  Envelope envelope{SomeHeader(1, 0), TakeOverMarker{}};
  envelope.header.position.checksum = Checksum(0);
  return envelope;
}

std::vector<Envelope> OneOfEachKind() {
  return {SomeCommits(),     SomeChunk(0, false), SomeChunk(2, true), SomeChunk(0, true),
          SomeSnapshotRef(), SomeHeartbeat(),     SomeTakeOver()};
}

void ExpectRefused(const Envelope& envelope, Errc code, std::string_view message) {
  Result<Envelope> got = Decode(Encode(envelope));
  ASSERT_FALSE(got.ok()) << "should be refused: " << message;
  EXPECT_EQ(got.code(), code) << got.error().message();
  EXPECT_THAT(got.error().message(), HasSubstr(message));
}

TEST(Envelope, CommitsComeBackAsTheyWere) {
  Result<Envelope> got = Decode(Encode(SomeCommits()));
  ASSERT_TRUE(got.ok()) << got.error().message();
  const Header& header = got->header;
  EXPECT_EQ(ToString(header.lineage), "000102030405060708090a0b0c0d0e0f");
  EXPECT_EQ(header.epoch, Epoch(3));
  EXPECT_EQ(header.database, "orders");
  EXPECT_EQ(header.min_txid, Txid(7));
  EXPECT_EQ(ToString(header.position), "000000000000000c/8123456789abcdef");
  EXPECT_EQ(header.node, "node-a");
  EXPECT_EQ(header.captured_at.time_since_epoch().count(), 1700000000123456);
  EXPECT_EQ(header.page_size, PageSize(4096));
  const Commits& commits = std::get<Commits>(got->body);
  ASSERT_EQ(commits.entries.size(), 3u);
  EXPECT_EQ(commits.entries[1].min_txid, Txid(8));
  EXPECT_EQ(commits.entries[1].max_txid, Txid(10));
  EXPECT_EQ(commits.entries[1].origin, Origin::kRange);
  EXPECT_EQ(commits.entries[1].wal_checksum, 0x1122334455667788u);
  EXPECT_EQ(commits.entries[1].captured_at.time_since_epoch().count(), 1700000000123000);
  EXPECT_EQ(commits.entries[1].ltx, std::string("LTX1\0eight", 10));
  EXPECT_EQ(commits.entries[2].origin, Origin::kDelta);
}

TEST(Envelope, ChunkComesBackAsItWas) {
  Result<Envelope> got = Decode(Encode(SomeChunk(2, true)));
  ASSERT_TRUE(got.ok()) << got.error().message();
  const Chunk& chunk = std::get<Chunk>(got->body);
  EXPECT_EQ(chunk.entry.max_txid, Txid(9));
  EXPECT_EQ(chunk.entry.origin, Origin::kSnapshot);
  EXPECT_EQ(chunk.index, 2u);
  EXPECT_TRUE(chunk.last);
  EXPECT_EQ(chunk.data, "chunk data");
  EXPECT_EQ(chunk.ltx_checksum, 0x99aabbccddeeff00u);
  EXPECT_EQ(chunk.ltx_bytes, 1000u);
}

TEST(Envelope, EveryKindComesBackByteForByte) {
  for (const Envelope& envelope : OneOfEachKind()) {
    std::string bytes = Encode(envelope);
    Result<Envelope> got = Decode(bytes);
    ASSERT_TRUE(got.ok()) << got.error().message();
    EXPECT_EQ(got->body.index(), envelope.body.index());
    EXPECT_EQ(ToHex(AsBytes(Encode(*got))), ToHex(AsBytes(bytes)));
  }
}

TEST(Envelope, GoldenBytesOfATakeOverMarker) {
  EXPECT_EQ(ToHex(AsBytes(Encode(SomeTakeOver()))),
            "0a36"                                  // field 1, the header: 54 bytes
            "08011005"                              // format version 1, kind 5
            "1a10000102030405060708090a0b0c0d0e0f"  // lineage
            "2003"                                  // epoch 3
            "2a066f7264657273"                      // database "orders"
            "3001"                                  // min TXID 1; max TXID 0 and checksum 0 are not written
            "4a066e6f64652d61"                      // node "node-a"
            "50c0c480c1c1c48203"                    // captured_us 1700000000123456
            "588020");                              // page size 4096
}

TEST(Envelope, GoldenBytesOfCommits) {
  Envelope envelope{SomeHeader(7, 7), Commits{{SomeEntry(7, 7, Origin::kCommit, "LTX1")}}};
  EXPECT_EQ(ToHex(AsBytes(Encode(envelope))),
            "0a41"                                  // field 1, the header: 65 bytes
            "08011001"                              // format version 1, kind 1
            "1a10000102030405060708090a0b0c0d0e0f"  // lineage
            "2003"                                  // epoch 3
            "2a066f7264657273"                      // database "orders"
            "30073807"                              // min and max TXID 7
            "41efcdab8967452381"                    // position checksum 8123456789abcdef
            "4a066e6f64652d61"                      // node "node-a"
            "50c0c480c1c1c48203"                    // captured_us 1700000000123456
            "588020"                                // page size 4096
            "121c"                                  // field 2, an entry: 28 bytes
            "08071007"                              // min and max TXID 7; origin 0 is not written
            "20f8c080c1c1c48203"                    // captured_us 1700000000123000
            "2a044c545831"                          // the LTX file: "LTX1" stands for it here
            "318877665544332211");                  // WAL checksum 1122334455667788
}

TEST(Envelope, ExampleOfTheDocumentIsWhatWeWrite) {
  std::string bytes = DocumentBytes("bus/ENVELOPE.md");
  Result<Envelope> got = Decode(bytes);
  ASSERT_TRUE(got.ok()) << got.error().message();
  EXPECT_EQ(ToString(got->header.position), "0000000000000007/8123456789abcdef");
  EXPECT_EQ(std::get<Commits>(got->body).entries.at(0).ltx, "LTX1");
  Envelope envelope{SomeHeader(7, 7), Commits{{SomeEntry(7, 7, Origin::kCommit, "LTX1")}}};
  EXPECT_EQ(ToHex(AsBytes(bytes)), ToHex(AsBytes(Encode(envelope))));
}

TEST(Envelope, TruncatedPayloadIsRefusedOrStillFollowsTheRules) {
  for (const Envelope& envelope : OneOfEachKind()) {
    std::string bytes = Encode(envelope);
    for (size_t size = 0; size < bytes.size(); ++size) {
      std::string_view cut = std::string_view(bytes).substr(0, size);
      Result<Envelope> got = Decode(cut);
      // Only cutting off a whole field at the end can leave an envelope, and none of ours has one to spare.
      EXPECT_FALSE(got.ok()) << size << " of " << bytes.size();
      if (!got.ok()) {
        EXPECT_EQ(got.code(), Errc::kCorrupt);
      }
      (void)DecodeOutline(cut).ok();
    }
  }
}

TEST(Envelope, FlippedBitNeverCrashesAndWhatIsTakenCanBeEncodedAgain) {
  size_t taken = 0;
  size_t refused = 0;
  for (const Envelope& envelope : OneOfEachKind()) {
    const std::string bytes = Encode(envelope);
    for (size_t bit = 0; bit < bytes.size() * 8; ++bit) {
      std::string flipped = bytes;
      flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
      Result<Outline> outline = DecodeOutline(flipped);
      Result<Envelope> got = Decode(flipped);
      if (!got.ok()) {
        ++refused;
        continue;
      }
      ++taken;
      EXPECT_TRUE(outline.ok()) << bit << ": " << outline.error().message();
      EXPECT_TRUE(Decode(Encode(*got)).ok()) << bit;
    }
  }
  EXPECT_GT(taken, 100u);  // bits of the payload are not ours to judge
  EXPECT_GT(refused, 1000u);
}

TEST(Envelope, UnknownFieldsAreSkipped) {
  for (const Envelope& envelope : OneOfEachKind()) {
    std::string bytes = Encode(envelope) + FromHex("a20603616263") + FromHex("a80601");  // 100: "abc", 101: 1
    Result<Envelope> got = Decode(bytes);
    ASSERT_TRUE(got.ok()) << got.error().message();
    EXPECT_EQ(got->body.index(), envelope.body.index());
    EXPECT_TRUE(DecodeHeader(bytes).ok());
  }
}

TEST(Envelope, UnknownKindKeepsItsNumberAndHeader) {
  Result<Envelope> got = Decode(Encode({SomeHeader(7, 12), UnknownKind{77}}));
  ASSERT_TRUE(got.ok()) << got.error().message();
  EXPECT_EQ(std::get<UnknownKind>(got->body).kind, 77);
  EXPECT_EQ(got->header.epoch, Epoch(3));
  EXPECT_TRUE(DecodeOutline(Encode({SomeHeader(7, 12), UnknownKind{77}})).ok());
}

TEST(Envelope, NewerFormatVersionIsUnsupportedNotCorrupt) {
  std::string bytes = Encode(SomeHeartbeat());
  ASSERT_EQ(bytes.substr(2, 2), FromHex("0801"));
  bytes[3] = 2;
  EXPECT_TRUE(Decode(bytes).ok());
  bytes[3] = 3;
  EXPECT_EQ(Decode(bytes).code(), Errc::kUnsupported);
  EXPECT_EQ(DecodeHeader(bytes).code(), Errc::kUnsupported);
  EXPECT_EQ(DecodeOutline(bytes).code(), Errc::kUnsupported);
  bytes[3] = 0;
  EXPECT_EQ(Decode(bytes).code(), Errc::kCorrupt);
}

TEST(Envelope, HeaderRulesAreChecked) {
  struct Case {
    std::function<void(Header&)> spoil;
    const char* message;
  };
  const Case cases[] = {
      {[](Header& h) { h.epoch = Epoch(0); }, "epoch 0"},
      {[](Header& h) { h.database = ""; }, "database name"},
      {[](Header& h) { h.database = "a/b"; }, "database name"},
      {[](Header& h) { h.database = std::string(65, 'a'); }, "database name"},
      {[](Header& h) { h.page_size = PageSize(1000); }, "page size 1000"},
      {[](Header& h) { h.page_size = PageSize(0); }, "page size 0"},
      {[](Header& h) { h.min_txid = Txid(0); }, "TXID range"},
      {[](Header& h) { h.min_txid = Txid(14); }, "TXID range"},
      {[](Header& h) { h.position.txid = Txid(UINT64_MAX); }, "TXID range"},
      {[](Header& h) { h.position.checksum = Checksum(5); }, "flag bit"},
      {[](Header& h) { h.node = std::string(5000, 'n'); }, "node id too long"},
      {[](Header& h) { h.position.checksum = Checksum(0); }, "without a position checksum"},
      {[](Header& h) { h.min_txid = Txid(6); }, "the header says"},
      {[](Header& h) { h.position.txid = Txid(13); }, "the header says"},
  };
  for (const Case& c : cases) {
    Envelope envelope = SomeCommits();
    c.spoil(envelope.header);
    ExpectRefused(envelope, Errc::kCorrupt, c.message);
  }
  std::string bytes = Encode(SomeHeartbeat());
  ASSERT_EQ(bytes.substr(6, 2), FromHex("1a10"));
  bytes[7] = 0x0f;  // a lineage of 15 bytes: what follows falls apart or the length is wrong, never taken
  EXPECT_EQ(Decode(bytes).code(), Errc::kCorrupt);
}

TEST(Envelope, EntryRulesAreChecked) {
  struct Case {
    std::function<void(Commits&)> spoil;
    Errc code;
    const char* message;
  };
  const Case cases[] = {
      {[](Commits& c) { c.entries.clear(); }, Errc::kCorrupt, "without an entry"},
      {[](Commits& c) { c.entries[1].ltx.clear(); }, Errc::kCorrupt, "without bytes"},
      {[](Commits& c) { c.entries.erase(c.entries.begin() + 1); }, Errc::kCorrupt, "behind TXID"},
      {[](Commits& c) { c.entries.pop_back(); }, Errc::kCorrupt, "the header says"},
      {[](Commits& c) { c.entries[0].min_txid = Txid(0); }, Errc::kCorrupt, "entry with TXIDs"},
      {[](Commits& c) { c.entries[1].max_txid = Txid(7); }, Errc::kCorrupt, "entry with TXIDs"},
      {[](Commits& c) { c.entries[1].origin = Origin::kCommit; }, Errc::kCorrupt, "entry of one commit"},
      {[](Commits& c) { c.entries[1].origin = Origin::kSnapshot; }, Errc::kCorrupt, "snapshot entry"},
      {[](Commits& c) { c.entries[1].origin = static_cast<Origin>(9); }, Errc::kUnsupported, "unknown origin 9"},
  };
  for (const Case& c : cases) {
    Envelope envelope = SomeCommits();
    c.spoil(std::get<Commits>(envelope.body));
    ExpectRefused(envelope, c.code, c.message);
  }
}

TEST(Envelope, ChunkRulesAreChecked) {
  struct Case {
    bool last;
    std::function<void(Envelope&, Chunk&)> spoil;
    const char* message;
  };
  const Case cases[] = {
      {false, [](Envelope&, Chunk& c) { c.data.clear(); }, "without data"},
      {false, [](Envelope&, Chunk& c) { c.entry.ltx = "x"; }, "holds LTX bytes"},
      {false, [](Envelope&, Chunk& c) { c.ltx_bytes = 5; }, "not the last"},
      {false, [](Envelope&, Chunk& c) { c.ltx_checksum = 5; }, "not the last"},
      {false, [](Envelope& e, Chunk&) { e.header.position.checksum = Checksum::Empty(); }, "not the last"},
      {false, [](Envelope&, Chunk& c) { c.entry.max_txid = Txid(8); }, "the header says"},
      {true, [](Envelope& e, Chunk&) { e.header.position.checksum = Checksum(0); }, "without a position checksum"},
      {true, [](Envelope&, Chunk& c) { c.ltx_bytes = 11; }, "parts have"},
      {true, [](Envelope&, Chunk& c) { c.index = 0; }, "parts have"},
  };
  for (const Case& c : cases) {
    Envelope envelope = SomeChunk(c.last ? 2 : 0, c.last);
    c.spoil(envelope, std::get<Chunk>(envelope.body));
    ExpectRefused(envelope, Errc::kCorrupt, c.message);
  }
}

TEST(Envelope, MessagesWithoutLtxMustNotClaimTxids) {
  Envelope heartbeat = SomeHeartbeat();
  heartbeat.header.min_txid = Txid(12);
  ExpectRefused(heartbeat, Errc::kCorrupt, "carries no LTX");
  Envelope marker = SomeTakeOver();
  marker.header.position.txid = Txid(1);
  ExpectRefused(marker, Errc::kCorrupt, "carries no LTX");
}

TEST(Envelope, SnapshotReferenceNamesAnImageThatTheLogHasPassed) {
  const std::function<void(SnapshotRef&)> spoils[] = {
      [](SnapshotRef& ref) { ref.url.clear(); },
      [](SnapshotRef& ref) { ref.object.clear(); },
      [](SnapshotRef& ref) { ref.url.assign(5000, 'u'); },
      [](SnapshotRef& ref) { ref.image.txid = Txid(); },
      [](SnapshotRef& ref) { ref.image.txid = Txid(13); },  // the log is at 12
      [](SnapshotRef& ref) { ref.image.checksum = Checksum(); },
  };
  for (const auto& spoil : spoils) {
    Envelope envelope = SomeSnapshotRef();
    spoil(std::get<SnapshotRef>(envelope.body));
    ExpectRefused(envelope, Errc::kCorrupt, "snapshot reference");
  }
  Envelope envelope = SomeSnapshotRef();
  envelope.header.min_txid = Txid(1);
  ExpectRefused(envelope, Errc::kCorrupt, "carries no LTX");
}

TEST(Envelope, AnOutlineTellsThatAMessageRefersToAnImage) {
  for (const Envelope& envelope : OneOfEachKind()) {
    Result<Outline> outline = DecodeOutline(Encode(envelope));
    ASSERT_TRUE(outline.ok()) << outline.error().message();
    EXPECT_EQ(outline->refers, std::holds_alternative<SnapshotRef>(envelope.body));
  }
}

TEST(Envelope, RepeatedHeaderIsRefusedEverywhere) {
  std::string bytes = Encode(SomeHeartbeat());
  std::string twice = bytes + bytes;
  EXPECT_EQ(Decode(twice).code(), Errc::kCorrupt);
  EXPECT_EQ(DecodeHeader(twice).code(), Errc::kCorrupt);
}

TEST(Envelope, GroupsThatHideFieldsAreRefused) {
  Envelope envelope{SomeHeader(7, 7), Commits{{SomeEntry(7, 7, Origin::kCommit, "LTX1")}}};
  std::string bytes = Encode(envelope);
  // The entry gets a group (field 9) behind its own fields.
  std::string entry = bytes.substr(bytes.size() - 28) + FromHex("4b08054c");
  std::string grouped = bytes.substr(0, bytes.size() - 30) + FromHex("1220") + entry;
  EXPECT_EQ(Decode(grouped).code(), Errc::kCorrupt);
  EXPECT_EQ(DecodeOutline(grouped).code(), Errc::kCorrupt);
  EXPECT_EQ(DecodeHeader(grouped).code(), Errc::kCorrupt);
}

TEST(Envelope, ForeignBodyIsRefused) {
  std::string bytes = Encode(SomeHeartbeat()) + FromHex("12020801");  // a heartbeat with an entry behind it
  EXPECT_EQ(Decode(bytes).code(), Errc::kCorrupt);
}

TEST(Envelope, MillionsOfEmptyEntriesAreRefusedBeforeTheyAreBuilt) {
  std::string bytes = Encode(SomeCommits());
  for (int i = 0; i < 70000; ++i) bytes += FromHex("1200");
  Result<Envelope> got = Decode(bytes);
  ASSERT_FALSE(got.ok());
  EXPECT_THAT(got.error().message(), HasSubstr("too many entries"));
}

// Where `bytes` begins in `payload`.
size_t PlaceIn(const std::string& payload, Bytes bytes) {
  return static_cast<size_t>(AsText(bytes).data() - payload.data());
}

TEST(CommitsView, ShowsTheFilesWhereTheyLie) {
  const std::string payload = Encode(SomeCommits());
  Result<std::optional<CommitsView>> view = ViewCommits(payload);
  ASSERT_TRUE(view.ok() && *view);
  Result<Envelope> copy = Decode(payload);
  ASSERT_TRUE(copy.ok());
  const std::vector<Entry>& entries = std::get<Commits>(copy->body).entries;
  ASSERT_EQ((*view)->entries.size(), entries.size());
  EXPECT_EQ((*view)->header.position, copy->header.position);
  for (size_t i = 0; i < entries.size(); ++i) {
    const EntryView& seen = (*view)->entries[i];
    EXPECT_EQ(AsText(seen.ltx), entries[i].ltx);
    EXPECT_EQ(PlaceIn(payload, seen.ltx), payload.find(entries[i].ltx));
    EXPECT_EQ(seen.min_txid, entries[i].min_txid);
    EXPECT_EQ(seen.max_txid, entries[i].max_txid);
    EXPECT_EQ(seen.origin, entries[i].origin);
    EXPECT_EQ(seen.captured_at, entries[i].captured_at);
    EXPECT_EQ(seen.wal_checksum, entries[i].wal_checksum);
  }
}

TEST(CommitsView, LeavesOtherKindsToDecode) {
  for (const Envelope& envelope : OneOfEachKind()) {
    Result<std::optional<CommitsView>> view = ViewCommits(Encode(envelope));
    ASSERT_TRUE(view.ok()) << view.error().message();
    EXPECT_EQ(view->has_value(), std::holds_alternative<Commits>(envelope.body));
  }
  EXPECT_EQ(ViewCommits("no envelope").code(), Errc::kCorrupt);
}

TEST(Outline, TellsWhatAMessageCarries) {
  Result<Outline> commits = DecodeOutline(Encode(SomeCommits()));
  ASSERT_TRUE(commits.ok()) << commits.error().message();
  EXPECT_EQ(commits->carries, Outline::Carries::kEntries);
  ASSERT_EQ(commits->entries.size(), 3u);
  EXPECT_EQ(commits->entries[1].max_txid, Txid(10));
  EXPECT_EQ(commits->entries[1].origin, Origin::kRange);
  Result<Outline> chunk = DecodeOutline(Encode(SomeChunk(2, true)));
  ASSERT_TRUE(chunk.ok()) << chunk.error().message();
  EXPECT_EQ(chunk->carries, Outline::Carries::kChunk);
  EXPECT_EQ(chunk->entries.at(0).max_txid, Txid(9));
  EXPECT_EQ(chunk->chunk_index, 2u);
  EXPECT_TRUE(chunk->chunk_last);
  Result<Outline> heartbeat = DecodeOutline(Encode(SomeHeartbeat()));
  ASSERT_TRUE(heartbeat.ok());
  EXPECT_EQ(heartbeat->carries, Outline::Carries::kNothing);
  EXPECT_EQ(heartbeat->header.position.txid, Txid(12));
}

TEST(Lineage, TextIsThirtyTwoHexDigitsAndRandomOnesDiffer) {
  Lineage one = Lineage::Random();
  EXPECT_EQ(ToString(one).size(), 32u);
  EXPECT_EQ(ParseLineage(ToString(one)), one);
  EXPECT_NE(Lineage::Random(), one);
  EXPECT_FALSE(ParseLineage("00").has_value());
  EXPECT_FALSE(ParseLineage(std::string(32, 'g')).has_value());
}

}  // namespace
}  // namespace runnel::bus
