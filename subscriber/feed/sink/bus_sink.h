// Events on a message bus (bus/events.h): the id of an event is its token, so the bus itself says where the feed ended.
#pragma once

#include <memory>
#include <string>

#include "bus/events.h"
#include "subscriber/feed/sink.h"

namespace runnel::feed {

class BusSink : public Sink {
 public:
  explicit BusSink(std::unique_ptr<bus::EventWriter> writer) : writer_(std::move(writer)) {}

  Result<std::optional<Token>> LastToken(std::stop_token stop) override;
  Status Write(const Event& event, std::stop_token stop) override;
  Status Flush(std::stop_token stop) override { return writer_->Flush(std::move(stop)); }
  uint64_t waiting_bytes() const override { return writer_->waiting_bytes(); }
  std::string name() const override { return writer_->location(); }

 private:
  const std::unique_ptr<bus::EventWriter> writer_;
};

}  // namespace runnel::feed
