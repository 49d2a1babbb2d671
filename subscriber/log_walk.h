// Reads the LTX files that lie in a log right now, in order, once: for everything that looks back instead of following.
#pragma once

#include <functional>
#include <stop_token>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"

namespace runnel::subscriber {

// One LTX met on the way. The source has not been read yet; it may be left unread.
struct WalkedLtx {
  const bus::Header& header;  // of its message, or of its first chunk
  const bus::Entry& entry;    // .ltx is the file for entries that lie in one message, empty for chunked ones
  ltx::ByteSource& source;
};

// Return false to end the walk.
using LtxVisitor = std::function<Result<bool>(const WalkedLtx&)>;

// Visits every whole LTX from `start` up to what is the log's end at the call. An LTX whose publisher died inside it is
// given up without an error, after the visitor has seen its source fail. Messages of an epoch behind a takeover are
// passed over.
Status WalkLog(bus::Log& log, bus::StreamSeq start, const LtxVisitor& visit, std::stop_token stop);

}  // namespace runnel::subscriber
