// Where the log ends: asked of the bus at every start and after every trouble, never remembered.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "publisher/capture_types.h"

namespace runnel::publisher {

struct LogHead {
  bool empty = true;
  bus::StreamSeq tail_seq;  // of the very last message, whatever it is
  bus::Lineage lineage;
  bus::Epoch epoch;   // newest seen
  Position position;  // after the last whole LTX
  PageSize page_size;
};

// Reads the tail, and steps back over the chunks of an LTX that was never finished.
// Messages that are no envelopes are stepped over: what they may have held counts as lost.
// Errors: kRefused when there is nothing but such messages (another program's stream); kUnsupported (a newer format).
Result<LogHead> ReadLogHead(bus::Log& log);

// True when nothing but takeovers and heartbeats lies in the log since the leadership of `epoch`, which is older than
// the head's: whoever led since has published nothing, and the head is still where that leadership came to. False as
// well where that cannot be told: their markers are not all there, or not within the last messages.
Result<bool> NothingPublishedSince(bus::Log& log, const LogHead& head, bus::Epoch epoch);

// Where in a WAL the log's last commit ended, as its LTX header says it; nullopt when the last entry within
// `messages_max` messages of the tail was not cut from a WAL.
Result<std::optional<WalPosition>> ReadLastWalPosition(bus::Log& log, const LogHead& head, uint32_t messages_max);

}  // namespace runnel::publisher
