// An object store in a JetStream object bucket (ADR-20): any other client of such buckets reads and writes it too.
//
// The bucket is made by the first put. Versions are the sequences of the descriptions' messages, so all conditions are
// decided by the stream (Nats-Expected-Last-Subject-Sequence), and every put, also one without a condition, replaces
// exactly the object it has seen: that way the chunks of each replaced object are purged by exactly one writer.
//
// Delete removes the description itself instead of leaving a "deleted" one behind as other clients do: an archive
// deletes for ever, and those would pile up. A process killed in the middle of a put or delete leaves chunks without a
// description.
//
// No connection is shared between calls that run at the same time; up to four idle ones are kept.
#pragma once

#include <memory>

#include "bus/nats/session.h"
#include "subscriber/archive/store/object_store.h"
#include "subscriber/archive/store/retry.h"

namespace runnel::store {

struct NatsStoreOptions {
  std::string bucket;
  bus::nats::Endpoint endpoint;
  uint32_t replicas = 1;
  size_t chunk_bytes = 128 << 10;       // the default of ADR-20's clients
  size_t inflight_bytes_max = 8 << 20;  // of chunks sent and not acknowledged, and of one request for chunks
  RetryOptions retry;
};

// Talks to nobody yet.
std::unique_ptr<ObjectStore> OpenNatsStore(NatsStoreOptions options);

}  // namespace runnel::store
