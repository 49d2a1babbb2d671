// Events in Kafka topics <prefix>.<topic>, transactional.
//
// How events.h is kept: everything between two Flushes is one transaction of the transactional.id
// runnel-feed-<prefix>, and the id of its last event is committed in that transaction as the metadata of a consumer
// group's offset (group runnel-feed-<prefix>, topic <prefix>.transaction, partition 0). So events and the memory of
// them are there together or not at all, and a reader with isolation.level=read_committed sees each event once. A new
// writer fences the old one before it asks.
//
// The group's offset goes when nothing was written for the broker's offsets.retention.minutes (seven days by default):
// then the caller's own memory has to do.
#pragma once

#include <memory>

#include "bus/events.h"
#include "bus/url.h"
#include "ltx/base/result.h"

namespace runnel::bus::kafka {

Result<std::unique_ptr<EventWriter>> OpenEventTopics(const Url& url, const OpenOptions& options);

}  // namespace runnel::bus::kafka
