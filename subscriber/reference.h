// How an archive is opened that nobody has configured, but a log refers to (bus::SnapshotRef).
//
// What stands in a log was written by whoever can write there. So no password or token is carried to a server that only
// a reference names: one of NATS is given only to the log's own hosts. S3 keys never leave this machine; they sign.
#pragma once

#include <string>

#include "bus/open.h"
#include "subscriber/archive/store/open.h"

namespace runnel::subscriber {

// `configured`: what the configuration says of archives; `bus_url` and `bus`: how the log itself was opened.
store::StoreOptions OptionsForReference(const std::string& url, const std::string& bus_url, const bus::OpenOptions& bus,
                                        store::StoreOptions configured);

}  // namespace runnel::subscriber
