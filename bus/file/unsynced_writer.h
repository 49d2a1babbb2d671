// The writer of a file log that is not synced (sync=none): what is written is done, so nothing waits for anything, and
// Append writes by itself. A thread in between would cost two changes of it and tens of microseconds a message.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "bus/bus.h"
#include "bus/file/appender.h"
#include "ltx/base/sync.h"

namespace runnel::bus::file {

class UnsyncedWriter : public LogWriter {
 public:
  // The appender has taken the lead.
  UnsyncedWriter(std::unique_ptr<Appender> appender, WriterOptions options);

  // On return the message is acked, or the writer is dead. on_progress is called from here.
  Status Append(std::string payload, std::stop_token stop) override;
  uint64_t acked() const override;
  StreamSeq acked_seq() const override;
  Status error() const override;
  Status WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) override;
  uint64_t payload_bytes_max() const override;

 private:
  const WriterOptions options_;
  const std::unique_ptr<Appender> appender_;  // of the thread that appends

  mutable Mutex mutex_;
  uint64_t acked_ GUARDED_BY(mutex_) = 0;
  StreamSeq acked_seq_ GUARDED_BY(mutex_);
  std::optional<Error> error_ GUARDED_BY(mutex_);  // set once
};

}  // namespace runnel::bus::file
