#include "bus/file/file_writer.h"

#include "bus/file/segment.h"
#include "ltx/base/time.h"

namespace runnel::bus::file {

FileWriter::FileWriter(std::unique_ptr<Appender> appender, WriterOptions options)
    : options_(std::move(options)), appender_(std::move(appender)) {
  {
    MutexLock lock(mutex_);
    acked_.last_seq = appender_->last_seq();
    written_extent_ = appender_->extent();
  }
  write_thread_ = std::jthread([this](std::stop_token stop) { WriteLoop(std::move(stop)); });
  sync_thread_ = std::jthread([this](std::stop_token stop) { SyncLoop(std::move(stop)); });
}

FileWriter::~FileWriter() {
  write_thread_.request_stop();
  sync_thread_.request_stop();
}

uint64_t FileWriter::payload_bytes_max() const { return kRecordPayloadBytesMax; }

bool FileWriter::HasRoom(size_t payload_bytes) const {
  uint64_t inflight_messages = appended_.messages - acked_.messages;
  uint64_t inflight_bytes = appended_.bytes - acked_.bytes;
  if (inflight_messages == 0) return true;  // a message larger than the window passes alone
  return inflight_messages < options_.inflight_messages_max &&
         inflight_bytes + payload_bytes <= options_.inflight_bytes_max;
}

Status FileWriter::Append(std::string payload, std::stop_token stop) {
  TRY(CheckPayloadSize(payload));
  const size_t bytes = payload.size();
  {
    MutexLock lock(mutex_);
    while (!error_ && !HasRoom(bytes)) {
      if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped while the window was full");
      (void)settled_cond_.WaitUntil(mutex_, stop, NoDeadline());
    }
    if (error_) return *error_;
    queue_.push_back(std::move(payload));
    appended_.messages += 1;
    appended_.bytes += bytes;
  }
  appended_cond_.NotifyOne();
  return Ok();
}

uint64_t FileWriter::acked() const {
  MutexLock lock(mutex_);
  return acked_.messages;
}

StreamSeq FileWriter::acked_seq() const {
  MutexLock lock(mutex_);
  return acked_.last_seq;
}

Status FileWriter::error() const {
  MutexLock lock(mutex_);
  return error_ ? Status(*error_) : Ok();
}

Status FileWriter::WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) {
  MutexLock lock(mutex_);
  bool waiting = true;
  while (acked_.messages < count) {
    if (error_) return *error_;
    if (stop.stop_requested()) return Error(Errc::kCancelled, "stopped while waiting for acks");
    if (!waiting) {
      return Error(Errc::kTimeout,
                   std::to_string(acked_.messages) + " of " + std::to_string(count) + " messages acked");
    }
    waiting = settled_cond_.WaitUntil(mutex_, stop, deadline);
  }
  return Ok();
}

void FileWriter::WriteLoop(std::stop_token stop) {
  std::vector<std::string> group;
  Status written = Ok();
  while (written.ok()) {
    Appender::Extent synced;
    {
      MutexLock lock(mutex_);
      while (queue_.empty() && !error_ && !stop.stop_requested()) {
        (void)appended_cond_.WaitUntil(mutex_, stop, NoDeadline());
      }
      if (error_ || stop.stop_requested()) return;  // what is not written is abandoned
      group.swap(queue_);
      synced = synced_extent_;
    }
    appender_->NoteSynced(synced);
    written = appender_->Append(group, stop);
    {
      MutexLock lock(mutex_);
      if (written.ok()) {
        written_.messages += group.size();
        for (const std::string& payload : group) written_.bytes += payload.size();
        written_.last_seq = appender_->last_seq();
        written_extent_ = appender_->extent();
      } else if (!error_) {
        error_ = written.error();
      }
    }
    group.clear();
    written_cond_.NotifyOne();
  }
}

void FileWriter::SyncLoop(std::stop_token stop) {
  bool alive = true;
  while (alive) {
    Progress progress;
    Appender::Extent extent;
    {
      MutexLock lock(mutex_);
      while (written_.messages == acked_.messages && !error_ && !stop.stop_requested()) {
        (void)written_cond_.WaitUntil(mutex_, stop, NoDeadline());
      }
      if (stop.stop_requested()) return;  // what is not acked is abandoned
      progress = written_;
      extent = written_extent_;
      alive = !error_.has_value();
    }
    Status synced = alive ? extent.file->Sync() : Ok();
    {
      MutexLock lock(mutex_);
      if (!synced.ok() && !error_) error_ = synced.error();
      if (synced.ok() && alive) {
        acked_ = progress;
        synced_extent_ = std::move(extent);
      }
      alive = !error_.has_value();
    }
    if (!alive) appended_cond_.NotifyOne();
    settled_cond_.NotifyAll();
    if (options_.on_progress) options_.on_progress();
  }
}

}  // namespace runnel::bus::file
