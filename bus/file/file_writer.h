// The pipelined writer of a file log, in two steps with a thread each: what is queued is written as a group, at once,
// so that readers have it within microseconds; what is written is synced, as much as has come together meanwhile, and
// then acked.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "bus/bus.h"
#include "bus/file/appender.h"
#include "ltx/base/sync.h"

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
  // How far a step has come.
  struct Progress {
    uint64_t messages = 0;
    uint64_t bytes = 0;  // of payloads
    StreamSeq last_seq;
  };

  void WriteLoop(std::stop_token stop);
  void SyncLoop(std::stop_token stop);
  bool HasRoom(size_t payload_bytes) const REQUIRES_LOCK(mutex_);

  const WriterOptions options_;
  const std::unique_ptr<Appender> appender_;  // touched by the write loop only

  mutable Mutex mutex_;
  CondVar appended_cond_;  // for the write loop
  CondVar written_cond_;   // for the sync loop: also on error
  CondVar settled_cond_;   // for who waits for room or acks
  std::vector<std::string> queue_ GUARDED_BY(mutex_);
  Progress appended_ GUARDED_BY(mutex_);
  Progress written_ GUARDED_BY(mutex_);
  Appender::Extent written_extent_ GUARDED_BY(mutex_);
  Appender::Extent synced_extent_ GUARDED_BY(mutex_);
  Progress acked_ GUARDED_BY(mutex_);
  std::optional<Error> error_ GUARDED_BY(mutex_);  // set once

  // Last: everything above outlives them.
  std::jthread write_thread_;
  std::jthread sync_thread_;
};

}  // namespace runnel::bus::file
