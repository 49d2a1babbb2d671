// Where events go. A sink is told every event in order and says what is safe.
//
// I1  The events a sink has made durable are a prefix of those it was given: never a hole.
// I2  Flush returns only when everything written is durable to the sink's own standard.
// I3  A sink that remembers (LastToken) gets no event twice: the feed asks, and leaves out what is there. One that
//     cannot remember gets again what came after the last Flush before a crash.
#pragma once

#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "ltx/base/result.h"
#include "subscriber/feed/event_encoder.h"
#include "subscriber/feed/token.h"

namespace runnel::feed {

// THREAD: one. After an error a sink is dead, unless the error is kCancelled; open a new one.
class Sink {
 public:
  virtual ~Sink() = default;

  // The newest event that the sink itself can prove to have; nullopt: none, or it cannot tell. Errors: kUnavailable.
  virtual Result<std::optional<Token>> LastToken(std::stop_token stop) = 0;

  // Takes the event in; not durable yet. May wait. Errors: kUnavailable, kCancelled, kInvalid (an event it can never
  // take), kIo.
  virtual Status Write(const Event& event, std::stop_token stop) = 0;

  // DURABLE: every event written.
  virtual Status Flush(std::stop_token stop) = 0;

  // Bytes taken in and not flushed yet: the feed flushes when it is many.
  virtual uint64_t waiting_bytes() const = 0;

  // Consumers that are connected to it right now, where it knows.
  virtual uint64_t clients() const { return 0; }

  // For people, without secrets.
  virtual std::string name() const = 0;
};

}  // namespace runnel::feed
