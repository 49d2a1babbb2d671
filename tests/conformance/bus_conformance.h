// One behavioural suite for every log adapter: the invariants I1-I5 of bus/bus.h and the sentences of its contracts.
//
// An adapter's test binary links `bus_conformance` (its sources are compiled into that binary), and says
//
//   INSTANTIATE_TEST_SUITE_P(Nats, BusConformance, ::testing::Values(BusAdapter{"nats", &MakeNatsBus, {...}}),
//   BusAdapterName);
//
// Nothing here looks into payloads as envelopes: they are numbered texts, which is all that an adapter may know of
// them.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include "bus/bus.h"
#include "ltx/base/result.h"

namespace runnel::bus {

// One log on one running bus, with what an administrator can do to both. Made fresh for each test; the log does not
// exist.
class BusUnderTest {
 public:
  virtual ~BusUnderTest() = default;

  // Another handle of the same log, as another process would have it.
  virtual Result<std::unique_ptr<Log>> Open() = 0;

  // Deletes the log with all messages behind the back of everybody (Create makes it again).
  virtual Status DeleteLog() = 0;

  // Between these two nothing appended can become durable: a stopped server process, a lock held by somebody.
  virtual void Pause() = 0;
  virtual void Resume() = 0;

  // kill -9 and start again with the same data. Only called if BusCapabilities::can_restart.
  virtual void Restart() {}
};

struct BusCapabilities {
  bool can_restart = false;
  // Sequences of messages that follow each other differ by one (not so on Kafka: control records).
  bool dense_sequences = true;
  // I3 holds on the bus itself; else a fenced writer's late messages may lie in the log for readers to discard.
  bool exact_fence = true;
  // How many messages the throughput tests use: what the adapter does in about a second.
  int many_messages = 20000;
};

struct BusAdapter {
  std::string name;
  std::function<std::unique_ptr<BusUnderTest>()> make;  // may skip the test (RequirePeer) and return null
  BusCapabilities capabilities;
};
std::string BusAdapterName(const ::testing::TestParamInfo<BusAdapter>& info);
inline void PrintTo(const BusAdapter& adapter, std::ostream* out) { *out << adapter.name; }

// The small language in which the cases are written.
class BusConformance : public ::testing::TestWithParam<BusAdapter> {
 protected:
  static constexpr std::chrono::seconds kPatience{20};  // only a broken adapter waits this long

  void SetUp() override;

  const BusCapabilities& capabilities() const { return GetParam().capabilities; }
  BusUnderTest& bus() { return *bus_; }
  Log& log() { return *log_; }

  std::unique_ptr<Log> OpenLog();
  void CreateLog();

  // A writer that put `marker` behind whatever was there ("" = no marker).
  std::unique_ptr<LogWriter> TakeOver(Log& log, std::string marker, WriterOptions options = {});
  // Appends prefix0, prefix1, ... and waits for the acks.
  void AppendAcked(LogWriter& writer, const std::string& prefix, int count);
  static Status Append(LogWriter& writer, std::string payload) { return writer.Append(std::move(payload), {}); }
  static Status WaitAcked(LogWriter& writer, uint64_t count);
  // Waits until the writer has an error, and returns it.
  static Error WaitError(LogWriter& writer);

  std::unique_ptr<LogReader> Read(Log& log, StartAt start);
  static Result<Message> Next(LogReader& reader, SteadyTime deadline = std::chrono::steady_clock::now() + kPatience);
  // The next `count` payloads; fails the test when they do not come or their sequences do not rise.
  std::vector<std::string> Payloads(LogReader& reader, size_t count);
  // The whole log as a fresh handle reads it: everything up to the tail.
  std::vector<Message> Everything();
  std::vector<std::string> AllPayloads();

 private:
  std::unique_ptr<BusUnderTest> bus_;
  std::unique_ptr<Log> log_;
};

// "a0", "a1", ... "a<count-1>".
std::vector<std::string> Numbered(const std::string& prefix, int count);

}  // namespace runnel::bus
