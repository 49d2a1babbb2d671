// The log of one database as a JetStream stream: stream RUNNEL-<name>, subject runnel.<name>.log.
//
// The fence (I3 of bus.h) is the server's: once a takeover's marker is in, every message of an earlier writer is
// refused, because each names the id of the message it must follow (bus/nats/nats_writer.h). An acknowledged message is
// on as many servers as the stream has replicas and survives kill -9 of the server; whether it survives a power failure
// is up to the server's sync settings (JetStream syncs every 2 minutes unless told otherwise).
//
// No connection is made before the first call needs one. Connections: one for this object's own questions, one per
// writer, one per reader; none reconnects by itself, each owner makes a new one.
#pragma once

#include <memory>

#include "bus/bus.h"
#include "bus/open.h"
#include "bus/url.h"

namespace runnel::bus {

// Errors: kInvalid (no host in the URL).
Result<std::unique_ptr<Log>> OpenNatsLog(const Url& url, const OpenOptions& options);

}  // namespace runnel::bus
