#include "subscriber/restore/output_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include "tests/support/temp_dir.h"

namespace runnel::restore {
namespace {

Status WriteImage(const std::string& path, bool replace, char fill) {
  TRY_ASSIGN(std::unique_ptr<OutputFile> output, OutputFile::Create(path));
  TRY(output->Start(PageSize(512), 2));
  TRY(output->Write(Pgno(1), AsBytes(std::string(1024, fill))));
  return output->Finish(replace);
}

TEST(OutputFile, IsThereAsAWholeOrNotAtAll) {
  testing::TempDir dir;
  const std::string path = dir.path().string() + "/out.db";
  {
    Result<std::unique_ptr<OutputFile>> output = OutputFile::Create(path);
    ASSERT_TRUE(output.ok());
    ASSERT_TRUE((*output)->Start(PageSize(512), 2).ok());
    ASSERT_TRUE((*output)->Write(Pgno(1), AsBytes(std::string(1024, 'a'))).ok());
    EXPECT_FALSE(*FileExists(path));
  }
  EXPECT_TRUE(ListDir(dir.path().string())->empty());
  ASSERT_TRUE(WriteImage(path, false, 'a').ok());
  EXPECT_EQ(*ReadFile(path, 4096), std::string(1024, 'a'));
  EXPECT_EQ(ListDir(dir.path().string())->size(), 1u);
}

TEST(OutputFile, ReplacesOnlyWhenAskedTo) {
  testing::TempDir dir;
  const std::string path = dir.path().string() + "/out.db";
  ASSERT_TRUE(WriteImage(path, false, 'a').ok());
  ASSERT_EQ(::chmod(path.c_str(), 0640), 0);
  EXPECT_EQ(CheckOutput(path, false).code(), Errc::kRefused);
  EXPECT_EQ(WriteImage(path, false, 'b').code(), Errc::kRefused);
  EXPECT_EQ(*ReadFile(path, 4096), std::string(1024, 'a'));
  ASSERT_TRUE(CheckOutput(path, true).ok());
  ASSERT_TRUE(WriteImage(path, true, 'b').ok());
  EXPECT_EQ(*ReadFile(path, 4096), std::string(1024, 'b'));
  struct stat info = {};
  ASSERT_EQ(::stat(path.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST(OutputFile, IsRefusedBesideAnotherDatabasesWal) {
  testing::TempDir dir;
  const std::string path = dir.path().string() + "/out.db";
  for (const char* suffix : {"-wal", "-journal", "-shm"}) {
    ASSERT_TRUE(WriteFileAtomically(path + suffix, AsBytes("x")).ok());
    EXPECT_EQ(CheckOutput(path, false).code(), Errc::kRefused) << suffix;
    EXPECT_EQ(CheckOutput(path, true).code(), Errc::kRefused) << suffix;
    ASSERT_TRUE(RemoveFile(path + suffix).ok());
  }
  EXPECT_EQ(CheckOutput(dir.path().string(), true).code(), Errc::kInvalid);
  EXPECT_EQ(CheckOutput(dir.path().string() + "/no/out.db", true).code(), Errc::kInvalid);
}

}  // namespace
}  // namespace runnel::restore
