// How far one leadership has come in what it sends. The log must never have a hole: replicas would stop at it for good,
// and no restart could mend it. So each message is asked, before it leaves, whether it goes on where the last one
// ended; whatever mistake led to one that does not costs a reconnect, not the log.
#pragma once

#include <cstdint>

#include "bus/envelope.h"
#include "ltx/base/result.h"

namespace runnel::publisher {

struct LogEnd {
  Txid txid{};          // of the last whole LTX; 0: only a snapshot can follow
  uint32_t chunks = 0;  // sent of an LTX whose last chunk is still to come
  Txid chunked{};       // its max TXID, while chunks > 0

  // The end behind `envelope`. An LTX in chunks may be broken off, as readers allow (bus/chunk_reader.h), but not gone
  // on with after that. Errors: kGap: it does not follow on this end.
  Result<LogEnd> After(const bus::Envelope& envelope) const;
};

}  // namespace runnel::publisher
