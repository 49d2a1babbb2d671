// Images that a log only refers to: they lie in an archive.
#pragma once

#include <optional>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "ltx/base/result.h"
#include "ltx/base/time.h"
#include "ltx/format/types.h"

namespace runnel::subscriber {

struct SnapshotRefPlace {
  std::string url;  // of the archive
  Txid txid;
};

// The newest one of at most this TXID and moment; nullopt: none. Reads the whole log once.
Result<std::optional<SnapshotRefPlace>> FindLastSnapshotRef(bus::Log& log, Txid at_most, std::optional<WallTime> time,
                                                            std::stop_token stop);

}  // namespace runnel::subscriber
