// What is special about the directory; the rest is in the conformance suite.
#include "subscriber/archive/store/dir_store.h"

#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace runnel::store {
namespace {

namespace fs = std::filesystem;

class DirStoreTest : public ::testing::Test {
 protected:
  testing::TempDir dir_;
  const std::string root_ = dir_ / "deep/archive";
  const std::unique_ptr<ObjectStore> store_ = OpenDirStore(root_);

  size_t TemporaryCount() const {
    size_t count = 0;
    for (const fs::directory_entry& entry : fs::directory_iterator(root_ + "/.runnel-tmp")) {
      if (entry.path().filename() != "lock") ++count;
    }
    return count;
  }
};

TEST_F(DirStoreTest, TouchesNothingUntilTheFirstPut) {
  ASSERT_TRUE(store_->List({}).ok());
  EXPECT_TRUE(store_->List({})->objects.empty());
  EXPECT_EQ(store_->Head("a").code(), Errc::kNotFound);
  EXPECT_TRUE(store_->Delete("a").ok());
  EXPECT_FALSE(fs::exists(dir_ / "deep"));
}

TEST_F(DirStoreTest, KeepsTheTimestampAsTheFilesTime) {
  const WallTime time(std::chrono::microseconds(1700000000268001));
  ASSERT_TRUE(store_->Put("ltx/0/x.ltx", AsBytes("bytes"), {.timestamp = time}).ok());
  struct stat info = {};
  ASSERT_EQ(::stat((root_ + "/ltx/0/x.ltx").c_str(), &info), 0);
  EXPECT_EQ(info.st_mtim.tv_sec, 1700000000);
  EXPECT_EQ(info.st_mtim.tv_nsec, 268001000);
  EXPECT_EQ(store_->Head("ltx/0/x.ltx")->timestamp, time);
}

TEST_F(DirStoreTest, RemovesWhatKilledWritersLeftAndSparesLiveOnes) {
  const std::unique_ptr<ObjectWriter> live = *store_->StartPut("live", {});
  ASSERT_TRUE(live->Write(AsBytes("live")).ok());
  std::ofstream(root_ + "/.runnel-tmp/99999-7") << "left behind";
  ASSERT_EQ(TemporaryCount(), 2u);
  const std::unique_ptr<ObjectStore> other = OpenDirStore(root_);
  ASSERT_TRUE(other->Put("other", AsBytes("x")).ok());
  EXPECT_EQ(TemporaryCount(), 1u);
  EXPECT_TRUE(live->Commit().ok());
  EXPECT_EQ(*store_->GetAll("live", 100), "live");
  EXPECT_EQ(TemporaryCount(), 0u);
}

TEST_F(DirStoreTest, HidesItsTemporaryFiles) {
  const std::unique_ptr<ObjectWriter> live = *store_->StartPut("live", {});
  EXPECT_TRUE(store_->List({})->objects.empty());
  EXPECT_EQ(store_->Head(".runnel-tmp/lock").code(), Errc::kInvalid);
  EXPECT_EQ(store_->Put(".runnel-tmp/x", AsBytes("x")).code(), Errc::kInvalid);
}

TEST_F(DirStoreTest, SortsWholeKeysNotFolderByFolder) {
  // As bytes '-' < '.' < '/' < '0': the folder "a" sorts between "a.b" and "a0".
  for (const char* key : {"a0", "a/c", "a.b", "a-b", "a/b/c"}) ASSERT_TRUE(store_->Put(key, AsBytes("x")).ok());
  const std::vector<std::string> sorted = {"a-b", "a.b", "a/b/c", "a/c", "a0"};
  std::vector<std::string> listed;
  ASSERT_TRUE(store_
                  ->ListAll("",
                            [&](const ObjectInfo& object) {
                              listed.push_back(object.key);
                              return Ok();
                            })
                  .ok());
  EXPECT_EQ(listed, sorted);
  for (const std::string after : {"a-b", "a.b", "a/b/c", "a/b", "a", "a/", ""}) {
    const Result<ListPage> page = store_->List({.start_after = after, .count_max = 1});
    ASSERT_TRUE(page.ok());
    ASSERT_EQ(page->objects.size(), 1u) << after;
    EXPECT_EQ(page->objects[0].key, *std::ranges::upper_bound(sorted, after)) << after;
    EXPECT_TRUE(page->more || after == "a/c");
  }
}

TEST_F(DirStoreTest, IgnoresLinksInACircle) {
  ASSERT_TRUE(store_->Put("a/b", AsBytes("x")).ok());
  fs::create_directory_symlink("..", root_ + "/a/loop");
  fs::create_symlink("nowhere", root_ + "/a/broken");
  const Result<ListPage> page = store_->List({.prefix = "a/b"});
  ASSERT_TRUE(page.ok());
  EXPECT_EQ(page->objects.size(), 1u);
  EXPECT_TRUE(store_->List({.count_max = 1}).ok());
}

TEST_F(DirStoreTest, AnObjectIsNoFolder) {
  ASSERT_TRUE(store_->Put("a", AsBytes("x")).ok());
  EXPECT_FALSE(store_->Put("a/b", AsBytes("x")).ok());
  EXPECT_EQ(store_->Head("a/b").code(), Errc::kNotFound);
  EXPECT_EQ(store_->GetAll("a/b", 10).code(), Errc::kNotFound);
  EXPECT_TRUE(store_->Delete("a/b").ok());
  ASSERT_TRUE(store_->Put("c/d", AsBytes("x")).ok());
  EXPECT_EQ(store_->Head("c").code(), Errc::kNotFound);
  EXPECT_EQ(store_->GetAll("c", 10).code(), Errc::kNotFound);
  EXPECT_FALSE(store_->Put("c", AsBytes("x")).ok());
}

}  // namespace
}  // namespace runnel::store
