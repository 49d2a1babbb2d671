// What the file log does when processes die, disks fill and bytes rot; the rest is in the conformance suite.
#include "bus/file/file_log.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "bus/file/appender.h"
#include "bus/file/log_dir.h"
#include "bus/file/segment.h"
#include "tests/support/temp_dir.h"

namespace runnel::bus {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

SteadyTime Soon() { return std::chrono::steady_clock::now() + std::chrono::seconds(20); }
SteadyTime Now() { return std::chrono::steady_clock::now(); }

std::unique_ptr<Log> OpenAt(const std::string& directory, const std::string& query = "") {
  Result<Url> url = ParseUrl("file://" + directory + "/orders" + query);
  EXPECT_TRUE(url.ok()) << url.error().message();
  Result<std::unique_ptr<Log>> log = OpenFileLog(*url, {});
  EXPECT_TRUE(log.ok()) << log.error().message();
  return *std::move(log);
}

std::unique_ptr<LogWriter> TakeOver(Log& log, const std::string& marker, std::string* tail = nullptr) {
  auto decision = [&](const std::optional<Message>& shown) -> Result<std::optional<std::string>> {
    if (tail != nullptr) *tail = shown ? shown->payload : "(none)";
    return marker.empty() ? std::nullopt : std::optional(marker);
  };
  Result<std::unique_ptr<LogWriter>> writer = log.TakeOver(decision, {}, {});
  EXPECT_TRUE(writer.ok()) << writer.error().message();
  return writer.ok() ? *std::move(writer) : nullptr;
}

void AppendAcked(LogWriter& writer, const std::vector<std::string>& payloads) {
  uint64_t before = writer.acked();
  for (const std::string& payload : payloads) ASSERT_TRUE(writer.Append(payload, {}).ok());
  Status acked = writer.WaitAcked(before + payloads.size(), Soon(), {});
  ASSERT_TRUE(acked.ok()) << acked.error().message();
}

// Everything readable from `start` now, and the code of what ended it.
std::vector<std::string> ReadAll(Log& log, StartAt start, Errc* end = nullptr) {
  std::vector<std::string> out;
  Result<std::unique_ptr<LogReader>> reader = log.Read(start);
  EXPECT_TRUE(reader.ok()) << reader.error().message();
  while (true) {
    Result<Message> message = (*reader)->Next(Now(), {});
    if (!message.ok()) {
      if (end != nullptr) *end = message.code();
      return out;
    }
    out.push_back(std::move(message->payload));
  }
}

class FileLogTest : public ::testing::Test {
 protected:
  std::string directory() const { return dir_.path().string(); }
  std::string SegmentPath(uint64_t first_seq) const {
    return file::LogDir(directory() + "/orders").SegmentPath(StreamSeq(first_seq));
  }
  // A log "one", "two", "three" that nobody writes any more.
  void MakeThree() {
    std::unique_ptr<Log> log = OpenAt(directory());
    ASSERT_TRUE(log->Create().ok());
    std::unique_ptr<LogWriter> writer = TakeOver(*log, "");
    // Acked one by one, so that each record knows the ones before it to be on disk.
    for (const char* payload : {"one", "two", "three"}) AppendAcked(*writer, {payload});
  }
  void FlipByte(const std::string& path, uint64_t offset) {
    std::fstream file(path, std::ios::binary | std::ios::in | std::ios::out);
    file.seekg(static_cast<std::streamoff>(offset));
    char byte = static_cast<char>(file.get() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  }

  runnel::testing::TempDir dir_;
};

constexpr uint64_t kOneAt = file::kSegmentHeaderBytes;
constexpr uint64_t kTwoAt = kOneAt + file::kRecordHeaderBytes + 3;
constexpr uint64_t kThreeAt = kTwoAt + file::kRecordHeaderBytes + 3;
constexpr uint64_t kEnd = kThreeAt + file::kRecordHeaderBytes + 5;

TEST_F(FileLogTest, UnknownOptionsAreInvalid) {
  for (const char* query : {"?sync=sometimes", "?segment_bytes=12", "?segment_bytes=1e6", "?colour=red"}) {
    Result<Url> url = ParseUrl("file:///tmp/orders" + std::string(query));
    ASSERT_TRUE(url.ok());
    EXPECT_EQ(OpenFileLog(*url, {}).code(), Errc::kInvalid) << query;
  }
}

TEST_F(FileLogTest, LogWithoutSyncSaysThatItIsDangerous) {
  std::unique_ptr<Log> log = OpenAt(directory(), "?sync=none");
  ASSERT_TRUE(log->Create().ok());
  EXPECT_THAT(log->Info()->dangers, ElementsAre(HasSubstr("sync=none")));
}

TEST_F(FileLogTest, TailTornAtAnyByteIsCutOffByTheNextWriter) {
  MakeThree();
  ASSERT_EQ(std::filesystem::file_size(SegmentPath(1)), kEnd);
  std::string whole = directory() + "/whole";
  std::filesystem::copy(directory() + "/orders", whole, std::filesystem::copy_options::recursive);
  for (bool zeros : {false, true}) {  // a file that is too short, and one whose last bytes never reached the disk
    for (uint64_t size = kTwoAt; size < kEnd; ++size) {
      std::filesystem::remove_all(directory() + "/orders");
      std::filesystem::copy(whole, directory() + "/orders", std::filesystem::copy_options::recursive);
      std::filesystem::resize_file(SegmentPath(1), size);
      if (zeros) std::filesystem::resize_file(SegmentPath(1), kEnd);
      std::unique_ptr<Log> log = OpenAt(directory(), "?sync=none");  // hundreds of take-overs
      Result<std::unique_ptr<LogReader>> reader = log->Read(FromEarliest{});
      ASSERT_TRUE(reader.ok());
      std::vector<std::string> want = {"one"};
      if (size >= kThreeAt) want.push_back("two");
      for (const std::string& payload : want) ASSERT_EQ((*reader)->Next(Now(), {})->payload, payload);
      ASSERT_EQ((*reader)->Next(Now(), {}).code(), Errc::kTimeout) << size;
      EXPECT_EQ((**log->Tail()).payload, want.back());
      std::string tail;
      std::unique_ptr<LogWriter> writer = TakeOver(*log, "marker", &tail);
      ASSERT_NE(writer, nullptr);
      EXPECT_EQ(tail, want.back());
      AppendAcked(*writer, {"more"});
      want.insert(want.end(), {"marker", "more"});
      EXPECT_EQ(ReadAll(*log, FromEarliest{}), want) << size;
      // The reader that had been waiting at the torn place goes on there.
      ASSERT_EQ((*reader)->Next(Soon(), {})->payload, "marker") << size;
    }
  }
}

TEST_F(FileLogTest, DamageIsAGapAndNothingBehindItIsLost) {
  MakeThree();
  FlipByte(SegmentPath(1), kTwoAt + file::kRecordHeaderBytes);  // the payload "two"
  std::unique_ptr<Log> log = OpenAt(directory());
  Result<std::unique_ptr<LogReader>> reader = log->Read(FromEarliest{});
  EXPECT_EQ((*reader)->Next(Now(), {})->payload, "one");
  Result<Message> message = (*reader)->Next(Now(), {});
  ASSERT_FALSE(message.ok());
  EXPECT_EQ(message.code(), Errc::kGap);
  EXPECT_THAT(message.error().message(), HasSubstr("message 2 cannot be read"));
  EXPECT_THAT(message.error().message(), HasSubstr("next whole message is 3"));
  // A new writer keeps what is behind the damage and goes on in a new segment.
  std::string tail;
  std::unique_ptr<LogWriter> writer = TakeOver(*log, "four", &tail);
  EXPECT_EQ(tail, "three");
  EXPECT_TRUE(std::filesystem::exists(SegmentPath(4)));
  EXPECT_EQ(std::filesystem::file_size(SegmentPath(1)), kEnd);
  EXPECT_THAT(ReadAll(*log, FromSequence{StreamSeq(2)}), ElementsAre("three", "four"));
  EXPECT_EQ((**log->Get(StreamSeq(2))).payload, "three");
  EXPECT_EQ(log->Info()->last_seq, StreamSeq(4));
  Errc end = Errc::kInvalid;
  EXPECT_THAT(ReadAll(*log, FromEarliest{}, &end), ElementsAre("one"));
  EXPECT_EQ(end, Errc::kGap);
}

TEST_F(FileLogTest, DamagedLengthOfARecordIsAGapToo) {
  MakeThree();
  FlipByte(SegmentPath(1), kOneAt + 27);  // payload bytes of the first record
  std::unique_ptr<Log> log = OpenAt(directory());
  Errc end = Errc::kInvalid;
  EXPECT_THAT(ReadAll(*log, FromSequence{StreamSeq(1)}, &end), ElementsAre("two", "three"));  // the first whole one
  EXPECT_EQ(end, Errc::kTimeout);
}

TEST_F(FileLogTest, SegmentMissingInTheMiddleIsAGap) {
  std::unique_ptr<Log> log = OpenAt(directory(), "?segment_bytes=4096");
  ASSERT_TRUE(log->Create().ok());
  std::unique_ptr<LogWriter> writer = TakeOver(*log, "");
  for (int i = 0; i < 3; ++i) AppendAcked(*writer, {std::string(4096, static_cast<char>('a' + i))});  // a segment each
  ASSERT_TRUE(std::filesystem::remove(SegmentPath(2)));
  Errc end = Errc::kInvalid;
  EXPECT_EQ(ReadAll(*log, FromEarliest{}, &end).size(), 1u);
  EXPECT_EQ(end, Errc::kGap);
}

TEST_F(FileLogTest, OldSegmentsGoWhenTheirTimeIsOver) {
  file::Settings settings;
  settings.segment_bytes = 4096;
  settings.retention = std::chrono::microseconds(1);
  std::unique_ptr<Log> log = OpenAt(directory(), "?segment_bytes=4096");
  ASSERT_TRUE(log->Create().ok());
  Result<std::unique_ptr<file::Appender>> appender = file::Appender::Open(directory() + "/orders", settings);
  ASSERT_TRUE(appender.ok());
  auto no_marker = [](const std::optional<Message>&) -> Result<std::optional<std::string>> {
    return std::optional<std::string>();
  };
  ASSERT_TRUE((*appender)->TakeLead(no_marker, {}).ok());
  std::vector<std::string> payload = {std::string(5000, 'x')};
  for (int i = 0; i < 5; ++i) ASSERT_TRUE((*appender)->Append(payload, {}).ok());
  // The newest closed segment is behind the time limit only when the one after it was created before the limit.
  EXPECT_GE(log->Info()->first_seq, StreamSeq(3));
  EXPECT_EQ(log->Info()->last_seq, StreamSeq(5));
  EXPECT_FALSE(std::filesystem::exists(SegmentPath(1)));
  Errc end = Errc::kInvalid;
  EXPECT_FALSE(ReadAll(*log, FromEarliest{}, &end).empty());
  EXPECT_EQ(end, Errc::kTimeout);
}

TEST_F(FileLogTest, FullDiskEndsTheWriterAndTheNextOneGoesOnBehindWholeMessages) {
  std::unique_ptr<Log> log = OpenAt(directory());
  ASSERT_TRUE(log->Create().ok());
  std::unique_ptr<LogWriter> writer = TakeOver(*log, "first");
  struct rlimit limit {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &limit), 0);
  struct rlimit small = limit;
  small.rlim_cur = 10000;  // a file that may not grow stands for a disk that is full
  auto old_handler = ::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  Status appended = Ok();
  for (int i = 0; appended.ok() && i < 1000; ++i)
    appended = writer->Append(std::to_string(i) + std::string(300, '.'), {});
  Status waited = writer->WaitAcked(1000, Soon(), {});
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  ::signal(SIGXFSZ, old_handler);
  ASSERT_FALSE(waited.ok());
  EXPECT_EQ(waited.code(), Errc::kIo) << waited.error().message();
  uint64_t acked = writer->acked();
  writer = TakeOver(*log, "second");
  ASSERT_NE(writer, nullptr);
  AppendAcked(*writer, {"more"});
  std::vector<std::string> all = ReadAll(*log, FromEarliest{});
  ASSERT_GE(all.size(), acked + 3);
  EXPECT_EQ(all.front(), "first");
  for (size_t i = 1; i + 2 < all.size(); ++i) EXPECT_EQ(std::atoi(all[i].c_str()), static_cast<int>(i) - 1);
  EXPECT_EQ(all[all.size() - 2], "second");
  EXPECT_EQ(all.back(), "more");
}

// Appends numbers until it is killed, and says through the pipe how many were acked.
[[noreturn]] void AppendForEver(const std::string& directory, int round, int pipe_fd) {
  std::unique_ptr<Log> log = OpenAt(directory, "?segment_bytes=65536");
  std::unique_ptr<LogWriter> writer = TakeOver(*log, "round " + std::to_string(round));
  uint64_t told = 0;
  for (int i = 0;; ++i) {
    if (!writer->Append(std::to_string(i) + std::string(static_cast<size_t>(i * 37 % 500), '.'), {}).ok()) ::_exit(1);
    uint64_t acked = writer->acked();
    if (acked > told) {
      told = acked;
      if (::write(pipe_fd, &told, sizeof told) != sizeof told) ::_exit(1);
    }
  }
}

TEST_F(FileLogTest, KilledWritersLoseNothingAckedAndLeaveNoHole) {
  std::unique_ptr<Log> log = OpenAt(directory(), "?segment_bytes=65536");
  ASSERT_TRUE(log->Create().ok());
  constexpr int kRounds = 12;
  std::vector<uint64_t> acked_of_round;
  for (int round = 0; round < kRounds; ++round) {
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) AppendForEver(directory(), round, ends[1]);
    ::close(ends[1]);
    // Kill it somewhere in the middle, a different middle each time.
    uint64_t acked = 0;
    while (acked < static_cast<uint64_t>(500 + 97 * round)) {
      ASSERT_EQ(::read(ends[0], &acked, sizeof acked), static_cast<ssize_t>(sizeof acked));
    }
    ::kill(child, SIGKILL);
    uint64_t more = 0;
    while (::read(ends[0], &more, sizeof more) == static_cast<ssize_t>(sizeof more)) acked = more;
    ::close(ends[0]);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);
    acked_of_round.push_back(acked);
  }
  std::unique_ptr<LogWriter> writer = TakeOver(*log, "round " + std::to_string(kRounds));
  std::vector<std::string> all = ReadAll(*log, FromEarliest{});
  size_t at = 0;
  for (int round = 0; round < kRounds; ++round) {
    ASSERT_LT(at, all.size());
    ASSERT_EQ(all[at++], "round " + std::to_string(round));
    uint64_t count = 0;
    for (; at < all.size() && !all[at].starts_with("round "); ++at, ++count) {
      ASSERT_EQ(static_cast<uint64_t>(std::atoll(all[at].c_str())), count) << "hole in round " << round;
    }
    EXPECT_GE(count, acked_of_round[static_cast<size_t>(round)]);
  }
  EXPECT_EQ(all[at], "round " + std::to_string(kRounds));
}

TEST_F(FileLogTest, ReaderInAnotherProcessGetsWhatIsAppendedHere) {
  std::unique_ptr<Log> log = OpenAt(directory(), "?segment_bytes=65536");
  ASSERT_TRUE(log->Create().ok());
  constexpr int kCount = 5000;
  pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    std::unique_ptr<Log> own = OpenAt(directory());
    Result<std::unique_ptr<LogReader>> reader = own->Read(FromEarliest{});
    int failed = 0;
    for (int i = 0; reader.ok() && failed == 0 && i < kCount; ++i) {
      Result<Message> message = (*reader)->Next(Soon(), {});
      if (!message.ok() || message->payload != "m" + std::to_string(i)) failed = 1;
    }
    ::_exit(failed);
  }
  std::unique_ptr<LogWriter> writer = TakeOver(*log, "");
  for (int i = 0; i < kCount; ++i) ASSERT_TRUE(writer->Append("m" + std::to_string(i), {}).ok());
  int status = -1;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(status, 0);
}

}  // namespace
}  // namespace runnel::bus
