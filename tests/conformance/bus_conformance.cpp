#include "tests/conformance/bus_conformance.h"

#include <condition_variable>
#include <mutex>

namespace runnel::bus {

std::string BusAdapterName(const ::testing::TestParamInfo<BusAdapter>& info) { return info.param.name; }

std::vector<std::string> Numbered(const std::string& prefix, int count) {
  std::vector<std::string> out;
  for (int i = 0; i < count; ++i) {
    out.push_back(prefix + std::to_string(i));
  }
  return out;
}

void BusConformance::SetUp() {
  bus_ = GetParam().make();
  if (IsSkipped()) return;
  ASSERT_NE(bus_, nullptr) << "the bus under test did not start";
  log_ = OpenLog();
  ASSERT_NE(log_, nullptr);
}

std::unique_ptr<Log> BusConformance::OpenLog() {
  Result<std::unique_ptr<Log>> log = bus_->Open();
  if (!log.ok()) {
    ADD_FAILURE() << "open: " << log.error().message();
    return nullptr;
  }
  return *std::move(log);
}

void BusConformance::CreateLog() {
  Status created = log_->Create();
  ASSERT_TRUE(created.ok()) << created.error().message();
}

std::unique_ptr<LogWriter> BusConformance::TakeOver(Log& log, std::string marker, WriterOptions options) {
  auto decision = [&marker](const std::optional<Message>&) -> Result<std::optional<std::string>> {
    if (marker.empty()) return std::optional<std::string>();
    return std::optional<std::string>(marker);
  };
  Result<std::unique_ptr<LogWriter>> writer = log.TakeOver(decision, std::move(options), {});
  if (!writer.ok()) {
    ADD_FAILURE() << "take over: " << writer.error().message();
    return nullptr;
  }
  return *std::move(writer);
}

Status BusConformance::WaitAcked(LogWriter& writer, uint64_t count) {
  return writer.WaitAcked(count, std::chrono::steady_clock::now() + kPatience, {});
}

void BusConformance::AppendAcked(LogWriter& writer, const std::string& prefix, int count) {
  uint64_t before = writer.acked();
  for (const std::string& payload : Numbered(prefix, count)) {
    Status appended = Append(writer, payload);
    ASSERT_TRUE(appended.ok()) << appended.error().message();
  }
  Status acked = WaitAcked(writer, before + static_cast<uint64_t>(count));
  ASSERT_TRUE(acked.ok()) << acked.error().message();
}

Error BusConformance::WaitError(LogWriter& writer) {
  // No writer of these tests is ever asked for so many, so only an error ends the wait early.
  Status waited = WaitAcked(writer, uint64_t{1} << 40);
  if (waited.ok()) return Error(Errc::kTimeout, "acked what was never appended");
  return waited.error();
}

std::unique_ptr<LogReader> BusConformance::Read(Log& log, StartAt start) {
  Result<std::unique_ptr<LogReader>> reader = log.Read(start);
  if (!reader.ok()) {
    ADD_FAILURE() << "read: " << reader.error().message();
    return nullptr;
  }
  return *std::move(reader);
}

Result<Message> BusConformance::Next(LogReader& reader, SteadyTime deadline) { return reader.Next(deadline, {}); }

std::vector<std::string> BusConformance::Payloads(LogReader& reader, size_t count) {
  std::vector<std::string> out;
  StreamSeq last;
  while (out.size() < count) {
    Result<Message> message = Next(reader);
    if (!message.ok()) {
      ADD_FAILURE() << "message " << out.size() << ": " << message.error().message();
      return out;
    }
    EXPECT_GT(message->seq, last);
    last = message->seq;
    out.push_back(std::move(message->payload));
  }
  return out;
}

std::vector<Message> BusConformance::Everything() {
  std::vector<Message> out;
  std::unique_ptr<Log> log = OpenLog();
  if (log == nullptr) return out;
  Result<std::optional<Message>> tail = log->Tail();
  if (!tail.ok()) {
    ADD_FAILURE() << "tail: " << tail.error().message();
    return out;
  }
  if (!tail->has_value()) return out;
  std::unique_ptr<LogReader> reader = Read(*log, FromEarliest{});
  if (reader == nullptr) return out;
  while (out.empty() || out.back().seq < (*tail)->seq) {
    Result<Message> message = Next(*reader);
    if (!message.ok()) {
      ADD_FAILURE() << "message " << out.size() << ": " << message.error().message();
      return out;
    }
    if (!out.empty()) {
      EXPECT_GT(message->seq, out.back().seq);
      EXPECT_GE(message->stored_at, out.back().stored_at);
    }
    out.push_back(*std::move(message));
  }
  EXPECT_EQ(out.back().payload, (*tail)->payload);
  return out;
}

std::vector<std::string> BusConformance::AllPayloads() {
  std::vector<std::string> out;
  for (Message& message : Everything()) {
    out.push_back(std::move(message.payload));
  }
  return out;
}

}  // namespace runnel::bus
