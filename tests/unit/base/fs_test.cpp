#include "ltx/base/fs.h"

#include <sys/stat.h>

#include <gtest/gtest.h>

#include "tests/support/temp_dir.h"

namespace runnel {
namespace {

class FsTest : public ::testing::Test {
 protected:
  std::string At(std::string_view name) const { return (dir_ / name).string(); }
  static mode_t ModeOf(const std::string& path) {
    struct stat info = {};
    EXPECT_EQ(::stat(path.c_str(), &info), 0);
    return info.st_mode & 07777;
  }
  void Write(std::string_view name, std::string_view text) {
    ASSERT_TRUE(WriteFileAtomically(At(name), AsBytes(text)).ok());
  }
  std::string Read(std::string_view name) {
    Result<std::string> text = ReadFile(At(name), 1 << 20);
    return text.ok() ? *text : text.error().message();
  }

  testing::TempDir dir_;
};

TEST_F(FsTest, FileReadsBackWhatWasWrittenAtItsPlace) {
  Result<File> file = File::Create(At("a"));
  ASSERT_TRUE(file.ok());
  ASSERT_TRUE(file->WriteAt(4, AsBytes("efgh")).ok());
  ASSERT_TRUE(file->WriteAt(0, AsBytes("abcd")).ok());
  ASSERT_TRUE(file->Append(AsBytes("ij")).ok());
  ASSERT_TRUE(file->Sync().ok());
  EXPECT_EQ(*file->Size(), 10u);
  ASSERT_TRUE(file->Truncate(9).ok());
  ASSERT_TRUE(file->Close().ok());
  EXPECT_EQ(Read("a"), "abcdefghi");
}

TEST_F(FsTest, AShortFileIsAPartialReadOrAnErrorAsAsked) {
  Write("a", "abc");
  Result<File> file = File::OpenRead(At("a"));
  ASSERT_TRUE(file.ok());
  std::byte buffer[8];
  EXPECT_EQ(*file->ReadAt(1, buffer), 2u);
  EXPECT_EQ(*file->ReadAt(100, buffer), 0u);
  Status exact = file->ReadExactAt(1, buffer);
  ASSERT_FALSE(exact.ok());
  EXPECT_EQ(exact.code(), Errc::kCorrupt);
}

TEST_F(FsTest, OpeningSaysWhatIsMissingOrAlreadyThere) {
  EXPECT_EQ(File::OpenRead(At("none")).code(), Errc::kNotFound);
  EXPECT_EQ(File::OpenReadWrite(At("none")).code(), Errc::kNotFound);
  Write("a", "x");
  Result<File> file = File::Create(At("a"));
  ASSERT_FALSE(file.ok());
  EXPECT_NE(file.error().message().find(At("a")), std::string::npos);
  EXPECT_EQ(Read("a"), "x");
}

TEST_F(FsTest, AFullDiskIsExhausted) {
  Result<File> file = File::OpenReadWrite("/dev/full");
  ASSERT_TRUE(file.ok());
  EXPECT_EQ(file->WriteAt(0, AsBytes("x")).code(), Errc::kExhausted);
}

TEST_F(FsTest, AtomicWriteReplacesTheWholeFileAndLeavesNothingElse) {
  Write("a", "a long first text");
  Write("a", "short");
  EXPECT_EQ(Read("a"), "short");
  EXPECT_EQ(*ListDir(dir_.path().string()), std::vector<std::string>{"a"});
}

TEST_F(FsTest, AtomicWriteThatFailsLeavesTheOldFileAndNoTemporary) {
  ASSERT_TRUE(CreateDirs(At("a/b")).ok());
  EXPECT_FALSE(WriteFileAtomically(At("a"), AsBytes("x")).ok());  // a directory cannot be renamed over
  EXPECT_EQ(*ListDir(dir_.path().string()), std::vector<std::string>{"a"});
  EXPECT_FALSE(WriteFileAtomically(At("none/x"), AsBytes("x")).ok());
}

TEST_F(FsTest, NewFilesTakeTheModeOfTheirModel) {
  Write("model", "x");
  ASSERT_EQ(::chmod(At("model").c_str(), 0640), 0);
  ASSERT_TRUE(WriteFileAtomically(At("state"), AsBytes("y"), {.mode = 0600, .like = At("model")}).ok());
  EXPECT_EQ(ModeOf(At("state")), 0640u);
  ASSERT_TRUE(WriteFileAtomically(At("alone"), AsBytes("y"), {.mode = 0600, .like = At("no model")}).ok());
  EXPECT_EQ(ModeOf(At("alone")), 0600u);
}

TEST_F(FsTest, ReadFileRefusesMoreThanItsBound) {
  Write("a", std::string(100000, 'x'));
  EXPECT_EQ(ReadFile(At("a"), 100000)->size(), 100000u);
  EXPECT_EQ(ReadFile(At("a"), 99999).code(), Errc::kExhausted);
  EXPECT_EQ(ReadFile("/dev/zero", 1000).code(), Errc::kExhausted);
  EXPECT_EQ(ReadFile(At("none"), 1).code(), Errc::kNotFound);
}

TEST_F(FsTest, DirectoriesAreMadeWithTheirParentsAndListedSorted) {
  ASSERT_TRUE(CreateDirs(At("x/y/z")).ok());
  ASSERT_TRUE(CreateDirs(At("x/y/z/")).ok());
  Write("x/y/2", "");
  Write("x/y/1", "");
  EXPECT_EQ(*ListDir(At("x/y")), (std::vector<std::string>{"1", "2", "z"}));
  EXPECT_FALSE(CreateDirs(At("x/y/1")).ok());
  EXPECT_EQ(ListDir(At("none")).code(), Errc::kNotFound);
}

TEST_F(FsTest, RemovingAndRenamingSayOnlyWhatMatters) {
  Write("a", "x");
  EXPECT_TRUE(*FileExists(At("a")));
  ASSERT_TRUE(RenameFile(At("a"), At("b")).ok());
  EXPECT_FALSE(*FileExists(At("a")));
  EXPECT_EQ(RenameFile(At("a"), At("b")).code(), Errc::kNotFound);
  EXPECT_TRUE(RemoveFile(At("b")).ok());
  EXPECT_TRUE(RemoveFile(At("b")).ok());
  EXPECT_EQ(DirName("a"), ".");
  EXPECT_EQ(DirName("/a"), "/");
  EXPECT_EQ(DirName("/a/b"), "/a");
}

TEST_F(FsTest, ALockKeepsOthersOutAndNamesItsHolder) {
  {
    Result<FileLock> mine = FileLock::Acquire(At("lock"));
    ASSERT_TRUE(mine.ok());
    Result<FileLock> other = FileLock::Acquire(At("lock"));  // another open file description: as another process
    ASSERT_FALSE(other.ok());
    EXPECT_EQ(other.code(), Errc::kConflict);
    EXPECT_NE(other.error().message().find("held by process " + std::to_string(::getpid())), std::string::npos);
    FileLock moved = std::move(*mine);
    EXPECT_FALSE(FileLock::Acquire(At("lock")).ok());
  }
  EXPECT_TRUE(FileLock::Acquire(At("lock")).ok());
}

}  // namespace
}  // namespace runnel
