// The log as segment files in one directory: no server, one host, several processes (bus/file/SEGMENT.md has the
// format).
//
// url.directory/NAME is the log. Query parameters: sync=group (default: acked means synced to disk) or sync=none (acked
// means written, for benchmarks and throw-away logs); segment_bytes=N (size at which a segment is closed, default 64
// MiB).
//
// Fence: the newer writer wins. Each group of messages is written under an exclusive file lock after checking that no
// other writer took over since, so after TakeOver has returned nothing of an earlier writer is appended (I3 without
// exceptions). Readers take no lock on their normal path and never slow the writer down.
#pragma once

#include <memory>

#include "bus/bus.h"
#include "bus/open.h"
#include "bus/url.h"
#include "ltx/base/result.h"

namespace runnel::bus {

// Touches no file: a log that does not exist is kNotFound from the calls of Log. Errors: kInvalid (a query parameter).
Result<std::unique_ptr<Log>> OpenFileLog(const Url& url, const OpenOptions& options);

}  // namespace runnel::bus
