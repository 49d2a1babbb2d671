// Events on a file descriptor: JSON one a line, Protobuf each behind its length as a varint. Whoever reads a pipe gets
// each event at least once; the token of an event tells a repeated one.
#pragma once

#include <memory>
#include <string>

#include "ltx/base/fs.h"
#include "subscriber/feed/sink.h"

namespace runnel::feed {

class StreamSink : public Sink {
 public:
  // LIFETIME: the descriptor, which stays the caller's. `label`: for messages.
  StreamSink(int fd, EventFormat format, std::string label);

  Result<std::optional<Token>> LastToken(std::stop_token) override { return std::optional<Token>(); }
  Status Write(const Event& event, std::stop_token stop) override;
  Status Flush(std::stop_token stop) override;
  uint64_t waiting_bytes() const override { return buffer_.size(); }
  std::string name() const override { return label_; }

 private:
  const int fd_;
  const EventFormat format_;
  const std::string label_;
  const Fd unblocked_;
  const bool may_block_;
  std::string buffer_;
};

}  // namespace runnel::feed
