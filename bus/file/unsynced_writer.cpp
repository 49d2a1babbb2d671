#include "bus/file/unsynced_writer.h"

#include <span>
#include <utility>

#include "bus/file/segment.h"

namespace runnel::bus::file {

UnsyncedWriter::UnsyncedWriter(std::unique_ptr<Appender> appender, WriterOptions options)
    : options_(std::move(options)), appender_(std::move(appender)) {
  MutexLock lock(mutex_);
  acked_seq_ = appender_->last_seq();
}

Status UnsyncedWriter::Append(std::string payload, std::stop_token stop) {
  TRY(error());
  TRY(CheckPayloadSize(payload));
  Status written = appender_->Append(std::span<const std::string>(&payload, 1), std::move(stop));
  if (written.ok()) appender_->NoteSynced(appender_->extent());
  {
    MutexLock lock(mutex_);
    if (written.ok()) {
      ++acked_;
      acked_seq_ = appender_->last_seq();
    } else {
      error_ = written.error();
    }
  }
  if (options_.on_progress) options_.on_progress();
  return written;
}

uint64_t UnsyncedWriter::acked() const {
  MutexLock lock(mutex_);
  return acked_;
}

StreamSeq UnsyncedWriter::acked_seq() const {
  MutexLock lock(mutex_);
  return acked_seq_;
}

Status UnsyncedWriter::error() const {
  MutexLock lock(mutex_);
  return error_ ? Status(*error_) : Ok();
}

// Nothing is ever on its way.
Status UnsyncedWriter::WaitAcked(uint64_t count, SteadyTime, std::stop_token) {
  MutexLock lock(mutex_);
  if (acked_ >= count) return Ok();
  if (error_) return *error_;
  return Error(Errc::kTimeout, std::to_string(acked_) + " of " + std::to_string(count) + " messages acked");
}

uint64_t UnsyncedWriter::payload_bytes_max() const { return kRecordPayloadBytesMax; }

}  // namespace runnel::bus::file
