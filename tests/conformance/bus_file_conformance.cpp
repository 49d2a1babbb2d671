// The bus suite over segment files: with segments of their usual size, and with segments so small that each test rolls
// many.
#include <filesystem>
#include <optional>

#include "bus/file/file_log.h"
#include "bus/file/log_dir.h"
#include "tests/conformance/bus_conformance.h"
#include "tests/support/temp_dir.h"

namespace runnel::bus {
namespace {

class FileBus : public BusUnderTest {
 public:
  explicit FileBus(std::string query) : query_(std::move(query)) {}

  Result<std::unique_ptr<Log>> Open() override {
    TRY_ASSIGN(Url url, ParseUrl("file://" + dir_.path().string() + "/logs/orders" + query_));
    return OpenFileLog(url, {});
  }

  Status DeleteLog() override {
    std::filesystem::remove_all(path());
    return Ok();
  }

  // Holds the lock of the log, as a writer that was stopped in the middle of a write would.
  void Pause() override {
    leader_ = std::make_unique<file::LeaderFile>(*file::LeaderFile::Open(file::LogDir(path())));
    lock_.emplace(*leader_->Acquire({}));
  }
  void Resume() override { lock_.reset(); }

 private:
  std::string path() const { return (dir_.path() / "logs" / "orders").string(); }

  runnel::testing::TempDir dir_;
  std::string query_;
  std::unique_ptr<file::LeaderFile> leader_;
  std::optional<file::LeaderFile::Lock> lock_;
};

BusAdapter Adapter(const std::string& query, int many_messages) {
  BusAdapter adapter;
  adapter.name = "file";
  adapter.capabilities.many_messages = many_messages;
  adapter.make = [query] { return std::make_unique<FileBus>(query); };
  return adapter;
}

INSTANTIATE_TEST_SUITE_P(MediumSegments, BusConformance, ::testing::Values(Adapter("?segment_bytes=1048576", 20000)),
                         BusAdapterName);
// Closing a segment costs three syncs, so fewer messages do.
INSTANTIATE_TEST_SUITE_P(TinySegments, BusConformance, ::testing::Values(Adapter("?segment_bytes=8192", 3000)),
                         BusAdapterName);

}  // namespace
}  // namespace runnel::bus
