#include "tests/support/scratch_log.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <utility>

#include "bus/open.h"
#include "ltx/base/check.h"
#include "ltx/base/time.h"

namespace runnel::testing {

ScratchLog::ScratchLog(const std::string& directory, const std::string& parameters) {
  Result<std::unique_ptr<bus::Log>> log = bus::OpenLog("file://" + directory + "?" + parameters, {});
  CHECK(log.ok(), log.error().message());
  log_ = *std::move(log);
  const Status created = log_->Create();
  CHECK(created.ok(), created.error().message());
  auto no_marker = [](const std::optional<bus::Message>&) -> Result<std::optional<std::string>> {
    return std::optional<std::string>();
  };
  Result<std::unique_ptr<bus::LogWriter>> writer = log_->TakeOver(no_marker, {}, {});
  CHECK(writer.ok(), writer.error().message());
  writer_ = *std::move(writer);
}

bus::StreamSeq ScratchLog::Append(std::string payload) {
  EXPECT_TRUE(writer_->Append(std::move(payload), {}).ok());
  return bus::StreamSeq(++appended_);
}

void ScratchLog::Settle() { ASSERT_TRUE(writer_->WaitAcked(appended_, DeadlineIn(std::chrono::seconds(20)), {}).ok()); }

}  // namespace runnel::testing
