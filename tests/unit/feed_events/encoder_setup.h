// What the encoders' tests have in common: a feed's options, and the commit whose changes are encoded.
#pragma once

#include "subscriber/feed/event_encoder.h"

namespace runnel::feed {

inline EncoderOptions TestOptions() {
  EncoderOptions options;
  options.version = "1.2.3";
  options.name = "cdc";
  options.database = "app";
  options.keys = true;
  return options;
}

inline CommitContext TestCommit() {
  CommitContext context;
  context.lineage.fill(0xab);
  context.txid = Txid(42);
  context.captured_ms = 1000;
  context.processed_ms = 2000;
  return context;
}

}  // namespace runnel::feed
