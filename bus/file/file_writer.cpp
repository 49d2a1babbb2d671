#include "bus/file/file_writer.h"

#include "bus/file/segment.h"

namespace runnel::bus::file {

FileWriter::FileWriter(std::unique_ptr<Appender> appender, WriterOptions options)
    : options_(std::move(options)), appender_(std::move(appender)), acked_seq_(appender_->last_seq()) {
  flusher_ = std::jthread([this](std::stop_token stop) { Run(std::move(stop)); });
}

FileWriter::~FileWriter() {
  flusher_.request_stop();
  flusher_.join();
}

uint64_t FileWriter::payload_bytes_max() const { return kRecordPayloadBytesMax; }

bool FileWriter::HasRoom(size_t payload_bytes) const {
  if (inflight_messages_ == 0) return true;  // a message larger than the window passes alone
  return inflight_messages_ < options_.inflight_messages_max &&
         inflight_bytes_ + payload_bytes <= options_.inflight_bytes_max;
}

Status FileWriter::Append(std::string payload, std::stop_token stop) {
  size_t bytes = payload.size();
  if (bytes > kRecordPayloadBytesMax) {
    return Error(Errc::kInvalid, "payload of " + std::to_string(bytes) + " bytes, at most " +
                                     std::to_string(kRecordPayloadBytesMax) + " fit");
  }
  {
    std::unique_lock lock(mutex_);
    bool ready = changed_.wait(lock, stop, [&] { return error_.has_value() || HasRoom(bytes); });
    if (error_) return *error_;
    if (!ready) return Error(Errc::kCancelled, "stopped while the window was full");
    queue_.push_back(std::move(payload));
    inflight_messages_ += 1;
    inflight_bytes_ += bytes;
  }
  changed_.notify_all();
  return Ok();
}

uint64_t FileWriter::acked() const {
  std::lock_guard lock(mutex_);
  return acked_;
}

StreamSeq FileWriter::acked_seq() const {
  std::lock_guard lock(mutex_);
  return acked_seq_;
}

Status FileWriter::error() const {
  std::lock_guard lock(mutex_);
  return error_ ? Status(*error_) : Ok();
}

Status FileWriter::WaitAcked(uint64_t count, SteadyTime deadline, std::stop_token stop) {
  std::unique_lock lock(mutex_);
  bool done = changed_.wait_until(lock, stop, deadline, [&] { return error_.has_value() || acked_ >= count; });
  if (acked_ >= count) return Ok();
  if (error_) return *error_;
  if (!done && stop.stop_requested()) return Error(Errc::kCancelled, "stopped while waiting for acks");
  return Error(Errc::kTimeout, std::to_string(acked_) + " of " + std::to_string(count) + " messages acked");
}

void FileWriter::Run(std::stop_token stop) {
  WriteGroups(std::move(stop));
  changed_.notify_all();
  if (options_.on_progress) options_.on_progress();
}

void FileWriter::WriteGroups(std::stop_token stop) {
  while (true) {
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, stop, [&] { return !queue_.empty(); });
      if (stop.stop_requested()) return;  // what is not acked is abandoned
      group_.swap(queue_);
    }
    Status done = appender_->Append(group_, stop);
    if (done.ok()) done = appender_->Sync();
    {
      std::lock_guard lock(mutex_);
      if (!done.ok()) {
        error_ = done.error();
        return;
      }
      for (const std::string& payload : group_) {
        inflight_bytes_ -= payload.size();
      }
      inflight_messages_ -= group_.size();
      acked_ += group_.size();
      acked_seq_ = appender_->last_seq();
    }
    group_.clear();
    changed_.notify_all();
    if (options_.on_progress) options_.on_progress();
  }
}

}  // namespace runnel::bus::file
