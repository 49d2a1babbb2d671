// The pipelined writer of a file log: Append queues, one thread writes what is queued as a group, makes it durable with one
// fdatasync, and acks the group.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"
#include "bus/file/appender.h"

namespace runnel::bus::file {

class FileWriter : public LogWriter {
 public:
  // The appender has taken the lead.
  FileWriter(std::unique_ptr<Appender> appender, WriterOptions options);
  ~FileWriter() override;

  Status Append(std::string payload, std::stop_token stop) override;
  uint64_t acked() const override;
  StreamSeq acked_seq() const override;
  Status error() const override;
  Status WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) override;
  uint64_t payload_bytes_max() const override;

 private:
  void Run(std::stop_token stop);
  void WriteGroups(std::stop_token stop);
  bool HasRoom(size_t payload_bytes) const;  // REQUIRES: mutex_

  const WriterOptions options_;

  // Touched by the flusher only.
  std::unique_ptr<Appender> appender_;
  std::vector<std::string> group_;

  mutable std::mutex mutex_;
  std::condition_variable_any changed_;
  std::vector<std::string> queue_;    // guarded by mutex_: appended, not yet taken by the flusher
  uint64_t inflight_messages_ = 0;    // guarded: queued or being written
  uint64_t inflight_bytes_ = 0;       // guarded
  uint64_t acked_ = 0;                // guarded
  StreamSeq acked_seq_;               // guarded
  std::optional<Error> error_;        // guarded; set once

  std::jthread flusher_;  // last: everything above outlives it
};

}  // namespace runnel::bus::file
