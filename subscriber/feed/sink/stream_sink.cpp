#include "subscriber/feed/sink/stream_sink.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

namespace runnel::feed {
namespace {

// One write for many events; a pipe takes 64 KiB at once.
constexpr size_t kWriteBytes = 64 << 10;
// A pipe that can be written takes this much without waiting (PIPE_BUF).
constexpr size_t kPipeBytes = 4096;
// How often a blocked write looks whether it should stop.
constexpr int kStopPollMs = 100;

void AppendVarint(std::string& out, uint64_t value) {
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  out += static_cast<char>(value);
}

// What may block a write for as long as nobody reads.
bool MayBlock(int fd) {
  struct stat info;
  return fstat(fd, &info) != 0 || S_ISFIFO(info.st_mode) || S_ISSOCK(info.st_mode) || isatty(fd) == 1;
}

// A pipe opened once more, without waiting: whoever shares our descriptor is left alone.
Fd Unblocked(int fd) {
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISFIFO(info.st_mode)) return Fd();
  std::string path = "/proc/self/fd/" + std::to_string(fd);
  return Fd(open(path.c_str(), O_WRONLY | O_NONBLOCK | O_CLOEXEC));
}

}  // namespace

StreamSink::StreamSink(int fd, EventFormat format, std::string label)
    : fd_(fd), format_(format), label_(std::move(label)), unblocked_(Unblocked(fd)), may_block_(MayBlock(fd)) {}

Status StreamSink::Write(const Event& event, std::stop_token stop) {
  if (format_ == EventFormat::kProtobuf) AppendVarint(buffer_, event.value.size());
  buffer_ += event.value;
  if (format_ == EventFormat::kDebezium) buffer_ += '\n';
  return buffer_.size() < kWriteBytes ? Ok() : Flush(std::move(stop));
}

Status StreamSink::Flush(std::stop_token stop) {
  size_t written = 0;
  const int fd = unblocked_.valid() ? unblocked_.get() : fd_;
  while (written < buffer_.size()) {
    // A reader that does not read must not keep us from being stopped.
    pollfd ready{fd, POLLOUT, 0};
    int polled = poll(&ready, 1, kStopPollMs);
    if (polled == 0) {
      if (!stop.stop_requested()) continue;
      buffer_.erase(0, written);
      return Error(Errc::kCancelled, "write to " + label_);
    }
    size_t rest = buffer_.size() - written;
    bool whole = unblocked_.valid() || !may_block_;
    ssize_t n = write(fd, buffer_.data() + written, whole ? rest : std::min(rest, kPipeBytes));
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n < 0) return ErrnoError(errno, "write to " + label_);
    written += static_cast<size_t>(n);
  }
  buffer_.clear();
  return Ok();
}

}  // namespace runnel::feed
