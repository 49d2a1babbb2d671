// The language of the Kafka adapter's integration tests: one shared broker, a log of one's own, writers in other
// processes.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "tests/integration/bus_words.h"
#include "tests/support/child_process.h"
#include "tests/support/kafka_broker.h"
#include "tests/support/peers.h"
#include "tests/support/shared_kafka.h"
#include "tests/support/temp_dir.h"

namespace runnel::bus {

using runnel::testing::ChildProcess;
using runnel::testing::KafkaBroker;

// One broker for all tests of the process.
inline runnel::testing::SharedKafka* const shared = runnel::testing::SharedKafka::Add();

// True once `event` holds; the wait is bounded, not timed.
template <typename Event>
bool Await(const Event& event, SteadyTime give_up = Soon()) {
  while (!event()) {
    if (steady_clock::now() > give_up) return false;
    (void)SleepUntil(DeadlineIn(milliseconds(2)), {}).ok();
  }
  return true;
}

// Appends "PREFIX/FIRST" up to "PREFIX/(FIRST + count - 1)".
inline void AppendAcked(LogWriter& writer, const std::string& prefix, int first, int count) {
  const uint64_t before = writer.acked();
  for (int i = first; i < first + count; ++i) {
    const Status appended = writer.Append(prefix + "/" + std::to_string(i), {});
    ASSERT_TRUE(appended.ok()) << appended.error().message();
  }
  const Status acked = writer.WaitAcked(before + static_cast<uint64_t>(count), Soon(), {});
  ASSERT_TRUE(acked.ok()) << acked.error().message();
}

// What a reader hands out up to the tail, the payloads up to the first blank.
inline std::vector<std::string> ReadToTail(Log& log, LogReader& reader) {
  std::vector<std::string> payloads;
  const Result<std::optional<Message>> tail = log.Tail();
  EXPECT_TRUE(tail.ok()) << tail.error().message();
  if (!tail.ok() || !tail->has_value()) return payloads;
  const SteadyTime give_up = Soon();
  StreamSeq last;
  while (last < (*tail)->seq) {
    const Result<Message> message = reader.Next(give_up, {});
    if (!message.ok() && message.code() == Errc::kUnavailable && steady_clock::now() < give_up) continue;
    EXPECT_TRUE(message.ok()) << "behind " << last.raw() << ": " << message.error().message();
    if (!message.ok()) return payloads;
    last = message->seq;
    payloads.push_back(message->payload.substr(0, message->payload.find(' ')));
  }
  return payloads;
}

inline std::vector<std::string> Everything(Log& log) {
  Result<std::unique_ptr<LogReader>> reader = log.Read(FromEarliest{});
  EXPECT_TRUE(reader.ok()) << reader.error().message();
  return reader.ok() ? ReadToTail(log, **reader) : std::vector<std::string>();
}

// How many of payloads[from...] are NAME/0, NAME/1, ... without a hole.
inline size_t CountNumbers(const std::vector<std::string>& payloads, size_t from, const std::string& name) {
  size_t count = 0;
  while (from + count < payloads.size() && payloads[from + count] == name + "/" + std::to_string(count)) ++count;
  return count;
}

// A writer in a process of its own (tests/support/log_appender.cpp).
class Appender {
 public:
  Appender(const std::string& url, const std::string& name, int window = 0) {
    ChildProcess::Options child;
    child.argv = {RUNNEL_LOG_APPENDER, url, name, std::to_string(window)};
    child.output = directory_ / "log";
    Result<std::unique_ptr<ChildProcess>> started = ChildProcess::Start(std::move(child));
    EXPECT_TRUE(started.ok()) << started.error().message();
    process_ = *std::move(started);
  }

  ChildProcess& process() { return *process_; }
  std::string Output() const { return process_->Output(); }

  // The number in the last "acked" line.
  size_t acked() const {
    const std::string text = Output();
    const size_t at = text.rfind("acked ");
    return at == std::string::npos ? 0 : std::strtoull(text.c_str() + at + 6, nullptr, 10);
  }
  bool AwaitAcked(size_t count) {
    return Await([&] { return acked() >= count || !process_->running(); }) && acked() >= count;
  }
  // Times it has led.
  size_t leaderships() const {
    const std::string text = Output();
    size_t count = 0;
    for (size_t at = text.find("leading "); at != std::string::npos; at = text.find("leading ", at + 1)) ++count;
    return count;
  }
  // Its exit code after a clean end was asked for.
  std::optional<int> Stop() {
    process_->Kill(SIGTERM);
    return process_->Wait(kPatience);
  }

 private:
  runnel::testing::TempDir directory_;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace runnel::bus
