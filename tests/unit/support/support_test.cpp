#include <signal.h>
#include <sys/stat.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include <gtest/gtest.h>

#include "tests/support/child_process.h"
#include "tests/support/nats_server.h"
#include "tests/support/peers.h"
#include "tests/support/temp_dir.h"

namespace runnel::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::unique_ptr<ChildProcess> Shell(const std::string& script, const std::filesystem::path& output = {}) {
  ChildProcess::Options options;
  options.argv = {"sh", "-c", script};
  options.output = output;
  Result<std::unique_ptr<ChildProcess>> child = ChildProcess::Start(std::move(options));
  EXPECT_TRUE(child.ok());
  return std::move(*child);
}

TEST(TempDir, IsRemovedWithItsContentAtTheEnd) {
  std::filesystem::path path;
  {
    TempDir dir;
    path = dir.path();
    std::ofstream(dir / "file") << "x";
    ASSERT_TRUE(std::filesystem::exists(path / "file"));
  }
  EXPECT_FALSE(std::filesystem::exists(path));
}

TEST(ChildProcess, GivesExitCodeAndOutput) {
  TempDir dir;
  std::unique_ptr<ChildProcess> child = Shell("echo out; echo err >&2; exit 7", dir / "log");
  EXPECT_EQ(child->Wait(seconds(10)), 7);
  EXPECT_EQ(child->Wait(seconds(10)), 7) << "asking again gives the same answer";
  EXPECT_EQ(child->Output(), "out\nerr\n");
}

TEST(ChildProcess, WaitEndsAtItsDeadlineWhileTheChildRuns) {
  std::unique_ptr<ChildProcess> child = Shell("exec sleep 100");
  EXPECT_EQ(child->Wait(milliseconds(20)), std::nullopt);
  child->Kill(SIGTERM);
  EXPECT_EQ(child->Wait(seconds(10)), 128 + SIGTERM);
}

TEST(ChildProcess, DestructorEndsTheWholeGroup) {
  TempDir dir;
  ASSERT_EQ(mkfifo((dir / "fifo").c_str(), 0600), 0);
  // The grandchild holds the writing end: the read below sees the end of file when it is dead, and not before.
  std::unique_ptr<ChildProcess> child = Shell("sleep 100 > " + (dir / "fifo").string() + " & wait");
  std::ifstream fifo(dir / "fifo");
  child.reset();
  EXPECT_EQ(fifo.get(), std::ifstream::traits_type::eof());
}

TEST(ChildProcess, FrozenChildGoesOnWhenThawed) {
  std::unique_ptr<ChildProcess> child = Shell("read x < /dev/null; exit 3");
  child->Freeze();
  child->Thaw();
  EXPECT_EQ(child->Wait(seconds(10)), 3);
}

TEST(ChildProcess, MissingProgramIsNotFound) {
  ChildProcess::Options options;
  options.argv = {"/nonexistent/program"};
  Result<std::unique_ptr<ChildProcess>> child = ChildProcess::Start(std::move(options));
  ASSERT_FALSE(child.ok());
  EXPECT_EQ(child.code(), Errc::kNotFound);
}

TEST(NatsServer, ComesBackOnTheSamePortAfterKill) {
  if (!RequirePeer(DebianNatsServer(), "nats-server (apt)")) return;
  Result<std::unique_ptr<NatsServer>> server = NatsServer::Start({.binary = *DebianNatsServer()});
  ASSERT_TRUE(server.ok()) << server.error().message();
  EXPECT_NE((*server)->Monitor("/varz").find("server_id"), std::string::npos);
  (*server)->Kill9();
  EXPECT_EQ((*server)->Monitor("/varz"), "");
  ASSERT_TRUE((*server)->Restart().ok());
  EXPECT_NE((*server)->Monitor("/varz").find("server_id"), std::string::npos);
}

}  // namespace
}  // namespace runnel::testing
