#include "subscriber/feed/feed_state.h"

#include <gtest/gtest.h>

#include "ltx/base/bytes.h"
#include "tests/support/temp_dir.h"

namespace runnel::feed {
namespace {

using testing::TempDir;

FeedState Sample(uint64_t txid) {
  FeedState state;
  state.lineage.fill(7);
  state.page_size = PageSize(4096);
  state.page_count = 12;
  state.position = {Txid(txid), Checksum(Checksum::kFlag | txid)};
  state.phase = Phase::kCatchUp;
  state.snapshot_follows = true;
  state.target = Txid(99);
  state.delivered = Token{state.lineage, Txid(txid), true, 5};
  state.undo_number = 3;
  state.tables = 8;
  return state;
}

TEST(FeedState, IsThereAfterARestart) {
  TempDir dir;
  std::string path = (dir / "state").string();
  {
    Result<StateFile> file = StateFile::Open(path);
    ASSERT_TRUE(file.ok());
    EXPECT_EQ(file->state().phase, Phase::kNone);
    for (uint64_t txid = 1; txid <= 5; ++txid) file->Write(Sample(txid));
  }
  Result<StateFile> file = StateFile::Open(path);
  ASSERT_TRUE(file.ok());
  FeedState want = Sample(5);
  EXPECT_EQ(file->state().position, want.position);
  EXPECT_EQ(file->state().lineage, want.lineage);
  EXPECT_EQ(file->state().page_size, want.page_size);
  EXPECT_EQ(file->state().page_count, want.page_count);
  EXPECT_EQ(file->state().phase, want.phase);
  EXPECT_TRUE(file->state().snapshot_follows);
  EXPECT_EQ(file->state().target, want.target);
  EXPECT_EQ(file->state().delivered, want.delivered);
  EXPECT_EQ(file->state().undo_number, want.undo_number);
  EXPECT_EQ(file->state().tables, want.tables);
}

// Every byte of the newest slot may be one that a killed process had not written yet.
TEST(FeedState, FallsBackToTheStateBeforeATornWrite) {
  TempDir dir;
  std::string path = (dir / "state").string();
  {
    Result<StateFile> file = StateFile::Open(path);
    ASSERT_TRUE(file.ok());
    file->Write(Sample(1));  // slot 1
    file->Write(Sample(2));  // slot 0
  }
  Result<std::string> whole = ReadFile(path, 1 << 16);
  ASSERT_TRUE(whole.ok());
  for (size_t at = 0; at < 512; ++at) {
    std::string torn = *whole;
    torn[at] = static_cast<char>(torn[at] ^ 0x40);
    ASSERT_TRUE(WriteFileAtomically(path, AsBytes(torn)).ok());
    Result<StateFile> file = StateFile::Open(path);
    ASSERT_TRUE(file.ok()) << at;
    EXPECT_EQ(file->state().position.txid, Txid(1)) << at;
  }
}

TEST(FeedState, RefusesAFileInWhichNothingIsWhole) {
  TempDir dir;
  std::string path = (dir / "state").string();
  ASSERT_TRUE(WriteFileAtomically(path, AsBytes(std::string(1024, 'x'))).ok());
  Result<StateFile> file = StateFile::Open(path);
  ASSERT_FALSE(file.ok());
  EXPECT_EQ(file.code(), Errc::kCorrupt);
}

}  // namespace
}  // namespace runnel::feed
