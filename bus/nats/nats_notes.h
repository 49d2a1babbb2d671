// Notes of nodes on JetStream: stream RUNNEL-<name>-notes keeps the last message of each subject
// runnel.<name>.note.<key>. Nothing of the log depends on it; it may be deleted at any time.
#pragma once

#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/nats/session.h"
#include "ltx/base/result.h"

namespace runnel::bus::nats {

// Makes the stream when it is not there. Errors: kUnavailable.
Status PutNote(Session& session, const std::string& database, const Note& note);
// Empty when nobody has written one. Errors: kUnavailable.
Result<std::vector<Note>> GetNotes(Session& session, const std::string& database);

}  // namespace runnel::bus::nats
