// The log of one database as a Kafka topic: runnel.<name>, one partition. A sequence is a record's offset + 1.
//
// The fence (I3 of bus.h) is every reader's, and exact: a record counts only if it lies at the offset it was written
// for, so what an earlier writer appends behind a takeover's marker is never handed out (bus/kafka/stamp.h). An
// acknowledged message is on min.insync.replicas brokers; Kafka does not sync it to disk unless told to
// (log.flush.interval.messages).
//
// No connection is made before the first call needs one. Logs of one process share clients (bus/kafka/cluster.h).
#pragma once

#include <memory>

#include "bus/bus.h"
#include "bus/open.h"
#include "bus/url.h"

namespace runnel::bus {

// The URL's parameters are in bus/kafka/endpoint.h. Errors: kInvalid (URL, credentials that do not fit together).
Result<std::unique_ptr<Log>> OpenKafkaLog(const Url& url, const OpenOptions& options);

}  // namespace runnel::bus
