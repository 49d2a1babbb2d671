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

// A leadership that the log is known to have had; epoch 0: none is known.
struct Leadership {
  bus::Lineage lineage;
  bus::Epoch epoch;
};

struct LogHead {
  bool empty = true;
  bus::StreamSeq tail_seq;    // of the very last message, whatever it is
  bus::StreamSeq newest_seq;  // of the newest one that counts
  bus::Lineage lineage;
  bus::Epoch epoch;   // newest seen
  Position position;  // after the last whole LTX
  PageSize page_size;
};

// Reads the tail, and steps back over the chunks of an LTX that was never finished.
// Messages that are no envelopes are stepped over: what they may have held counts as lost.
//
// Void messages at the tail are stepped over as well, as far as `led` tells them: those of an older epoch, if a message
// of that leadership or of a newer one lies in front of them. Where none of it is left, the log has lost it, and what
// it ends with counts; that costs a thousand single reads.
//
// Errors: kRefused when there is nothing but messages that are no envelopes (another program's stream); kUnsupported (a
// newer format).
Result<LogHead> ReadLogHead(bus::Log& log, const Leadership& led = {});

// True when nothing but takeovers and heartbeats lies in the log since the leadership of `epoch`, which is older than
// the head's: whoever led since has published nothing, and the head is still where that leadership came to. False as
// well where that cannot be told: their markers are not all there, or not within the last messages.
Result<bool> NothingPublishedSince(bus::Log& log, const LogHead& head, bus::Epoch epoch);

// Where in a WAL the log's last commit ended, as its LTX header says it; nullopt when the last entry within
// `messages_max` messages of the tail was not cut from a WAL.
Result<std::optional<WalPosition>> ReadLastWalPosition(bus::Log& log, const LogHead& head, uint32_t messages_max);

}  // namespace runnel::publisher
