// Streams of events for other programs: many topics behind one prefix, one writer, each event once.
//
// This is not a log (bus.h): what is written here is never read back by runnel, except for the id of the newest event.
//
//   I1  The events that are durable are a prefix of those written, in order: after a failure never a hole.
//   I2  LastId names the newest durable event of whoever wrote under this prefix, also after a crash between writing
//   and
//       hearing of it; so a writer that begins behind LastId writes each event exactly once.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>

#include "bus/open.h"
#include "ltx/base/result.h"

namespace runnel::bus {

struct OutboundEvent {
  std::string_view topic;  // behind the prefix; [A-Za-z0-9._-]
  std::string_view key;    // empty: none
  std::string_view id;     // unique within the prefix, at most 128 bytes without spaces
  std::string_view payload;
};

// THREAD: one. After an error other than kCancelled the writer is dead.
class EventWriter {
 public:
  virtual ~EventWriter() = default;

  // nullopt: nothing was ever written, or it is no longer there. Errors: kUnavailable. REQUIRES: before the first
  // Write.
  virtual Result<std::optional<std::string>> LastId(std::stop_token stop) = 0;
  // Errors: kUnavailable; kInvalid (larger than the bus takes); kCancelled.
  virtual Status Write(const OutboundEvent& event, std::stop_token stop) = 0;
  // DURABLE: every event written. Errors: kUnavailable (how much is durable is what LastId of a new writer says);
  // kConflict (another writer has this prefix).
  virtual Status Flush(std::stop_token stop) = 0;
  virtual uint64_t waiting_bytes() const = 0;
  // For people, without secrets.
  virtual std::string location() const = 0;
};

// nats://[user:password@]host[:port][,...]/PREFIX, tls://, kafka://host[:port][,...]/PREFIX; PREFIX is
// [A-Za-z0-9_-]{1,64}. Connects, and makes what is missing there. Errors: kInvalid, kUnavailable, kRefused (what is
// there cannot keep events), kUnsupported (adapter not built in).
Result<std::unique_ptr<EventWriter>> OpenEvents(std::string_view url, const OpenOptions& options);

}  // namespace runnel::bus
