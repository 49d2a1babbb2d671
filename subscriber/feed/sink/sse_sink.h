// Events for HTTP clients: into the store that a listener serves (sse_server.h). The store remembers, so each event is
// there once; a client that keeps the id of its last event gets each once.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "subscriber/feed/sink.h"
#include "subscriber/feed/sink/sse_server.h"

namespace runnel::feed {

class SseSink : public Sink {
 public:
  // LIFETIME: the server.
  explicit SseSink(SseServer& server) : server_(server) { store().Discard(); }

  Result<std::optional<Token>> LastToken(std::stop_token) override { return store().kept().newest; }
  Status Write(const Event& event, std::stop_token) override {
    return store().Append(event.token, event.value, event.end);
  }
  Status Flush(std::stop_token stop) override { return store().Flush(std::move(stop)); }
  uint64_t waiting_bytes() const override { return server_.store().waiting_bytes(); }
  std::string name() const override { return server_.address(); }
  uint64_t clients() const override { return server_.clients(); }

 private:
  EventStore& store() { return server_.store(); }

  SseServer& server_;
};

}  // namespace runnel::feed
