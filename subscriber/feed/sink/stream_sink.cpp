#include "subscriber/feed/sink/stream_sink.h"

#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace runnel::feed {
namespace {

// One write for many events; a pipe takes 64 KiB at once.
constexpr size_t kWriteBytes = 256 << 10;
// A pipe that can be written takes this much without waiting (PIPE_BUF).
constexpr size_t kPipeBytes = 4096;
// How often a blocked write looks whether it should stop.
constexpr int kStopPollMs = 100;

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

bool IsRegular(int fd) {
  struct stat info;
  return fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
}

}  // namespace

StreamSink::StreamSink(int fd, EventFormat format, std::string label)
    : fd_(fd), format_(format), label_(std::move(label)), regular_(IsRegular(fd)) {}

Status StreamSink::Write(const Event& event, std::stop_token stop) {
  if (format_ == EventFormat::kProtobuf) AppendVarint(buffer_, event.value.size());
  buffer_ += event.value;
  if (format_ == EventFormat::kDebezium) buffer_ += '\n';
  return buffer_.size() < kWriteBytes ? Ok() : Flush(std::move(stop));
}

Status StreamSink::Flush(std::stop_token stop) {
  size_t written = 0;
  while (written < buffer_.size()) {
    // A reader that does not read must not keep us from being stopped.
    pollfd ready{fd_, POLLOUT, 0};
    int polled = poll(&ready, 1, kStopPollMs);
    if (polled == 0) {
      if (!stop.stop_requested()) continue;
      buffer_.erase(0, written);
      return Error(Errc::kCancelled, "write to " + label_);
    }
    size_t rest = buffer_.size() - written;
    ssize_t n = write(fd_, buffer_.data() + written, regular_ ? rest : std::min(rest, kPipeBytes));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return ErrnoError(errno, "write to " + label_);
    written += static_cast<size_t>(n);
  }
  buffer_.clear();
  return Ok();
}

}  // namespace runnel::feed
