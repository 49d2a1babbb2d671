// A log of segment files into which a test puts whatever it likes, as its only writer.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "bus/bus.h"
#include "bus/envelope.h"

namespace runnel::testing {

// THREAD: one.
class ScratchLog {
 public:
  // A new log. The calling test fails where it cannot be made. `parameters` of its URL: "segment_bytes=65536".
  explicit ScratchLog(const std::string& directory, const std::string& parameters = "sync=none");

  bus::Log& log() { return *log_; }

  // Behind what is there; returns its sequence. Readers may not see it before Settle.
  bus::StreamSeq Append(std::string payload);
  bus::StreamSeq Append(bus::Envelope envelope) { return Append(bus::Encode(std::move(envelope))); }
  // What the next one gets.
  bus::StreamSeq next() const { return bus::StreamSeq(appended_ + 1); }
  // Waits until everything is in the log.
  void Settle();

 private:
  std::unique_ptr<bus::Log> log_;
  std::unique_ptr<bus::LogWriter> writer_;
  uint64_t appended_ = 0;  // messages
};

}  // namespace runnel::testing
