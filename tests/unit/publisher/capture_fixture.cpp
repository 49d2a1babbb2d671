#include "tests/unit/publisher/capture_fixture.h"

namespace runnel::publisher {

using std::chrono::milliseconds;
using std::chrono::seconds;

void CaptureFixture::TearDown() {
  image_.reset();
  capture_.reset();
  for (sqlite3* db : connections_) sqlite3_close(db);
}

sqlite3* CaptureFixture::Connect(const std::string& uri_parameters) {
  sqlite3* db = nullptr;
  std::string uri = "file:" + db_ + uri_parameters;
  EXPECT_EQ(sqlite3_open_v2(uri.c_str(), &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_URI, nullptr),
            SQLITE_OK);
  connections_.push_back(db);
  return db;
}

int CaptureFixture::Try(sqlite3* db, const std::string& sql) {
  return sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr);
}

void CaptureFixture::App(const std::string& sql) {
  if (connections_.empty()) Connect();
  ASSERT_EQ(Try(connections_.front(), sql), SQLITE_OK) << sql << ": " << sqlite3_errmsg(connections_.front());
}

void CaptureFixture::CreateDb(int page_size) {
  App("PRAGMA page_size=" + std::to_string(page_size) + "; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0");
  App("CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB)");
}

void CaptureFixture::OpenCapture() {
  Result<std::unique_ptr<Capture>> opened = Capture::Open(options_, hub_);
  ASSERT_TRUE(opened.ok()) << opened.error().message();
  capture_ = std::move(*opened);
}

void CaptureFixture::StartCapture() {
  ASSERT_NO_FATAL_FAILURE(OpenCapture());
  Result<ImagePin> pin = capture_->PinImage();
  ASSERT_TRUE(pin.ok()) << pin.error().message();
  read_ = pin->at;
  page_count_ = pin->page_count;
}

std::vector<CommitFrames> CaptureFixture::ReadAll() {
  std::vector<CommitFrames> commits;
  while (true) {
    Result<std::optional<CommitFrames>> next = capture_->Next();
    EXPECT_TRUE(next.ok()) << next.error().message();
    if (!next.ok() || !next->has_value()) break;
    commits.push_back(**next);
    read_ = commits.back().end;
    page_count_ = commits.back().page_count;
  }
  return commits;
}

void CaptureFixture::ReleaseAll() { capture_->Released(read_); }

bool CaptureFixture::StepUntil(const std::function<bool()>& condition, seconds patience) {
  for (Clock::time_point end = Clock::now() + patience; Clock::now() < end;) {
    Status step = capture_->Step();
    EXPECT_TRUE(step.ok()) << step.error().message();
    if (condition()) return true;
    capture_->Wait(Clock::now() + milliseconds(1));
  }
  return false;
}

bool CaptureFixture::TurnUntil(const std::function<bool()>& condition, seconds patience) {
  auto read_and_release = [&] {
    ReadAll();
    ReleaseAll();
    return condition();
  };
  return StepUntil(read_and_release, patience);
}

void CaptureFixture::StartImage() {
  auto opened = runnel::testing::ImagePublisher::Open({.directory = dir_.path().string(), .capture = options_}, hub_);
  ASSERT_TRUE(opened.ok()) << opened.error().message();
  image_ = std::move(*opened);
}

void CaptureFixture::PublishAll() {
  do {
    Status turn = image_->Turn();
    ASSERT_TRUE(turn.ok()) << turn.error().message();
  } while (!image_->quiet());
}

std::string CaptureFixture::Compare() {
  image_.reset();
  return runnel::testing::CompareWithImage(db_, dir_.path().string());
}

}  // namespace runnel::publisher
