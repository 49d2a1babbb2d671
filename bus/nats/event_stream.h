// Events in a JetStream stream: stream RUNNEL-FEED-<prefix>, subjects <prefix>.<topic>.
//
// How events.h is kept: every message has its event's id as Nats-Msg-Id and names the id it must follow
// (Nats-Expected-Last-Msg-Id), the first one the sequence it must follow; so the stream holds a prefix of what was
// written (nats_writer.h argues why sequences alone would leave holes), and its newest message is the newest event. The
// ids also let a server drop a repeated message within its dedupe window.
#pragma once

#include <memory>

#include "bus/events.h"
#include "bus/url.h"
#include "ltx/base/result.h"

namespace runnel::bus::nats {

Result<std::unique_ptr<EventWriter>> OpenEventStream(const Url& url, const OpenOptions& options);

}  // namespace runnel::bus::nats
