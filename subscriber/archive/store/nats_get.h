// One Get from a bucket: finds the chunk where the range begins, hands out bytes, goes on with a new connection after a
// cut.
#pragma once

#include <cstdint>
#include <string>

#include "subscriber/archive/store/nats_sessions.h"
#include "subscriber/archive/store/nats_writer.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::store {

class NatsGet {
 public:
  NatsGet(NatsSessions& sessions, const std::string& key, const ByteRange& range, const ByteSink& sink)
      : sessions_(sessions), key_(key), range_(range), sink_(sink) {}

  Result<ObjectInfo> Run();

 private:
  // All there is to do with one connection. Errors: kUnavailable to go on with another one.
  Status Attempt(bus::nats::Session& session, Retry& retry);
  // Moves next_seq_ and at_ to the chunk that holds the first byte, by the sizes of the chunks before it.
  Status SkipToBegin(bus::nats::Session& session);
  Status ReadChunks(bus::nats::Session& session, Retry& retry);
  Status TakeChunk(Bytes chunk);
  Status Verify();
  // The chunks ended too early: another object now, or a broken one.
  Status Incomplete(bus::nats::Session& session);
  uint32_t BatchMax() const;

  NatsSessions& sessions_;
  const std::string& key_;
  const ByteRange& range_;
  const ByteSink& sink_;
  NatsObject object_;
  ByteRange::Span span_;   // of the object
  bool found_ = false;     // object_ and span_ are known
  bool skipped_ = false;   // SkipToBegin is done
  uint64_t next_seq_ = 1;  // where in the stream to go on
  uint64_t at_ = 0;        // where the chunk at next_seq_ begins in the object
  uint64_t chunk_count_ = 0;
  Sha256 digest_;         // of whole objects
  Status failed_ = Ok();  // ends everything, whatever its code: the sink's own error, or another object now
};

}  // namespace runnel::store
