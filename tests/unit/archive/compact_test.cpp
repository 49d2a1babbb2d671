// Jobs over a real directory: what they make is read back; what is damaged or does not fit is refused, and leaves
// nothing.
#include "subscriber/archive/compact.h"

#include <gtest/gtest.h>

#include "subscriber/archive/object_io.h"
#include "subscriber/archive/segment.h"
#include "subscriber/archive/store/open.h"
#include "tests/support/ltx_spec.h"
#include "tests/support/temp_dir.h"

namespace runnel::archive {
namespace {

using testing::Image;
using testing::LtxSpec;
using testing::Page;

constexpr uint32_t kPageSize = 512;

class JobTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<store::ObjectStore>> store = store::OpenStore("file://" + (dir_ / "archive").string());
    ASSERT_TRUE(store.ok());
    store_ = std::move(*store);
    manifest_.page_size = PageSize(kPageSize);
  }

  Checksum SumAt(uint64_t txid) const { return Checksum(Checksum::kFlag | txid); }

  ArchivedObject Put(const ObjectName& name, const std::string& bytes, Checksum checksum, uint64_t file_checksum) {
    EXPECT_TRUE(store_->PutIfAbsent(layout_.Key(name), AsBytes(bytes)).ok());
    ArchivedObject object;
    object.name = name;
    object.checksum = checksum;
    object.captured_at = bus::CaptureTime(std::chrono::microseconds(1700000000000000));
    object.bytes = bytes.size();
    object.file_checksum = file_checksum;
    return object;
  }

  // Segments hold any files: nobody looks into them.
  ArchivedObject PutSegment(uint64_t first, uint64_t last, size_t file_bytes) {
    ltx::StringSink sink;
    SegmentWriter writer(sink, manifest_.lineage, manifest_.page_size);
    EXPECT_TRUE(writer.Begin().ok());
    for (uint64_t txid = first; txid <= last; ++txid) {
      SegmentRecord record;
      record.min_txid = record.max_txid = Txid(txid);
      record.checksum = SumAt(txid);
      EXPECT_TRUE(writer.AddFile(record, AsBytes(std::string(file_bytes, static_cast<char>(txid)))).ok());
    }
    SegmentSummary summary = *writer.Finish();
    return Put({ObjectKind::kSegment, 0, Txid(first), Txid(last)}, sink.Take(), SumAt(last), summary.file_checksum);
  }

  ArchivedObject PutLevel(uint8_t level, LtxSpec spec, Checksum checksum) {
    spec.header.no_checksum = true;
    spec.header.pre_apply_checksum = Checksum();
    spec.trailer.post_apply_checksum = Checksum();
    const std::string bytes = testing::ToBytes(spec);
    const uint64_t file_checksum = LoadBe64(AsBytes(bytes).last(8).data());
    return Put({ObjectKind::kLevel, level, spec.header.min_txid, spec.header.max_txid}, bytes, checksum, file_checksum);
  }

  // Snapshot 1, then commits 2 and 3, whose images add up.
  void PutHistory() {
    Image image{kPageSize, {}};
    LtxSpec first = image.Change(1, {{1, Page(kPageSize, 'a')}, {2, Page(kPageSize, 'b')}}, 2);
    image.Apply(first);
    job_.inputs.push_back(PutLevel(9, first, image.Sum()));
    for (uint64_t txid : {2, 3}) {
      LtxSpec next = image.Change(txid, {{2, Page(kPageSize, static_cast<char>('b' + txid))}}, 2);
      image.Apply(next);
      job_.inputs.push_back(PutLevel(0, next, image.Sum()));
    }
  }

  Result<ArchivedObject> RunIt() { return RunJob(*store_, layout_, manifest_, job_, nullptr, std::stop_token()); }
  bool Exists(const ObjectName& name) { return store_->Head(layout_.Key(name)).ok(); }

  testing::TempDir dir_;
  std::unique_ptr<store::ObjectStore> store_;
  Layout layout_ = *Layout::ForScheme("file");
  Manifest manifest_;
  Job job_;
};

TEST_F(JobTest, JoinsSegmentsBlockByBlock) {
  job_.kind = Job::Kind::kSegments;
  job_.inputs = {PutSegment(2, 400, 1500), PutSegment(401, 401, 200), PutSegment(402, 405, 200)};
  job_.output = {ObjectKind::kSegment, 0, Txid(2), Txid(405)};
  Result<ArchivedObject> made = RunIt();
  ASSERT_TRUE(made.ok()) << made.error().message();
  EXPECT_EQ(made->checksum, SumAt(405));
  ObjectRandomSource source(*store_, layout_.Key(made->name), made->bytes);
  Result<SegmentReader> reader = SegmentReader::Open(source);
  ASSERT_TRUE(reader.ok()) << reader.error().message();
  EXPECT_EQ(reader->summary().file_checksum, made->file_checksum);
  EXPECT_EQ(reader->summary().checksum, SumAt(405));
  uint64_t txid = 2;
  for (const SegmentBlock& block : reader->blocks()) {
    Result<SegmentReader::Block> whole = reader->ReadBlock(block, 1 << 20);
    ASSERT_TRUE(whole.ok());
    for (const SegmentRecord& record : whole->records) {
      EXPECT_EQ(record.max_txid, Txid(txid));
      EXPECT_EQ(whole->File(record, block)[0], static_cast<std::byte>(txid));
      ++txid;
    }
  }
  EXPECT_EQ(txid, 406u);
}

TEST_F(JobTest, MakesASnapshotAndProvesIt) {
  PutHistory();
  job_.kind = Job::Kind::kSnapshot;
  job_.output = {ObjectKind::kLevel, kSnapshotLevel, Txid(1), Txid(3)};
  Result<ArchivedObject> made = RunIt();
  ASSERT_TRUE(made.ok()) << made.error().message();
  Result<LtxSpec> back = testing::FromBytes(*store_->GetAll(layout_.Key(made->name), 1 << 20));
  ASSERT_TRUE(back.ok());
  EXPECT_TRUE(back->header.no_checksum);
  EXPECT_EQ(back->pages.at(2), Page(kPageSize, 'e'));
  EXPECT_EQ(made->page_count, 2u);
}

TEST_F(JobTest, KeepsNoSnapshotThatDoesNotAddUp) {
  PutHistory();
  job_.kind = Job::Kind::kSnapshot;
  job_.output = {ObjectKind::kLevel, kSnapshotLevel, Txid(1), Txid(3)};
  job_.inputs.back().checksum = SumAt(3);
  EXPECT_EQ(RunIt().code(), Errc::kCorrupt);
  EXPECT_FALSE(Exists(job_.output));
}

TEST_F(JobTest, RefusesAnInputThatIsNotTheOneThatWasWritten) {
  PutHistory();
  job_.inputs.erase(job_.inputs.begin());
  job_.output = {ObjectKind::kLevel, 1, Txid(2), Txid(3)};
  job_.inputs[0].file_checksum ^= 1;
  EXPECT_EQ(RunIt().code(), Errc::kCorrupt);
  EXPECT_FALSE(Exists(job_.output));
  job_.inputs[0].file_checksum ^= 1;
  EXPECT_TRUE(RunIt().ok());
  EXPECT_EQ(RunIt().code(), Errc::kConflict);  // never over what is there
}

}  // namespace
}  // namespace runnel::archive
