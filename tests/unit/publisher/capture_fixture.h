// A stock application connection and a capture of its database, in one process.
#pragma once

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "publisher/capture.h"
#include "tests/support/image_publisher.h"
#include "tests/support/temp_dir.h"

namespace runnel::publisher {

class CaptureFixture : public ::testing::Test {
 protected:
  void TearDown() override;

  // A connection of the application; closed at the end.
  sqlite3* Connect(const std::string& uri_parameters = "");
  // Runs SQL on the first connection; a failure fails the test.
  void App(const std::string& sql);
  // Runs SQL and returns SQLite's code.
  static int Try(sqlite3* db, const std::string& sql);
  // An application database in WAL mode with table t.
  void CreateDb(int page_size = 4096);

  // Opens the capture at the image of now.
  void StartCapture();
  void OpenCapture();
  // All commits there are.
  std::vector<CommitFrames> ReadAll();
  void ReleaseAll();
  // Turns the loop, releasing everything, until the condition holds; false after `patience`.
  bool TurnUntil(const std::function<bool()>& condition, std::chrono::seconds patience = std::chrono::seconds(10));
  // The same without reading and releasing.
  bool StepUntil(const std::function<bool()>& condition, std::chrono::seconds patience = std::chrono::seconds(10));

  // The whole way: image published commit by commit.
  void StartImage();
  void PublishAll();
  std::string Compare();

  runnel::testing::TempDir dir_;
  std::string db_ = (dir_ / "app.db").string();
  CaptureOptions options_{.path = db_};
  WakeHub hub_;
  std::unique_ptr<Capture> capture_;
  std::unique_ptr<runnel::testing::ImagePublisher> image_;
  WalPosition read_;
  uint32_t page_count_ = 0;

 private:
  std::vector<sqlite3*> connections_;
};

}  // namespace runnel::publisher
