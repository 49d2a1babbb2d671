// Words that the integration tests of the bus adapters share: waiting that ends, opening, leading.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bus/bus.h"
#include "bus/open.h"
#include "ltx/base/time.h"

namespace runnel::bus {

using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

constexpr seconds kPatience(60);    // only a broken adapter waits this long
constexpr milliseconds kPause(20);  // between two questions to a bus that is away

inline SteadyTime Soon() { return steady_clock::now() + kPatience; }

inline std::unique_ptr<Log> Open(const std::string& url, const OpenOptions& options = {}) {
  Result<std::unique_ptr<Log>> log = OpenLog(url, options);
  EXPECT_TRUE(log.ok()) << log.error().message();
  return *std::move(log);
}

// Appends this marker; "": continues without one.
inline TakeOverDecision Marker(std::string marker) {
  return [marker = std::move(marker)](const std::optional<Message>&) -> Result<std::optional<std::string>> {
    if (marker.empty()) return std::optional<std::string>();
    return std::optional<std::string>(marker);
  };
}

// What a real caller does with an answer that says "not now": asks again, until the patience is at its end. A cluster
// that has just lost or regained a node answers so for a while.
template <typename Call>
auto Patiently(SteadyTime give_up, Call call) {
  while (true) {
    auto result = call();
    const bool later = !result.ok() && (result.code() == Errc::kUnavailable || result.code() == Errc::kTimeout);
    if (!later || steady_clock::now() > give_up) return result;
    if (!SleepUntil(steady_clock::now() + kPause, {}).ok()) return result;
  }
}

// Takes over, trying again while the bus is away.
inline std::unique_ptr<LogWriter> Lead(Log& log, const std::string& marker, WriterOptions options = {}) {
  Result<std::unique_ptr<LogWriter>> writer =
      Patiently(Soon(), [&] { return log.TakeOver(Marker(marker), options, {}); });
  if (writer.ok()) return *std::move(writer);
  ADD_FAILURE() << "take over: " << writer.error().message();
  return nullptr;
}

}  // namespace runnel::bus
