// The LTX files of one message, compressed together. Each page in them is compressed already, but commits that follow
// on each other write the same few pages again and again, each time almost as they were: between files there is much to
// save where inside them is nothing. A message of appending one-row commits becomes 6 times smaller (measured), and so
// does what the server, the disk below it and the line to another region have to do.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "bus/envelope.h"
#include "ltx/base/result.h"

namespace runnel::bus {

// Encodes the messages of one publisher. Keeps its buffers. One thread.
class Packer {
 public:
  Packer();
  ~Packer();

  // As bus::Encode; packed when that makes the message smaller by an eighth or more. Where it does not, it is not tried
  // for a while: such a writer changes other pages each time, and the time is lost.
  std::string Encode(Envelope envelope, std::chrono::steady_clock::time_point now);

 private:
  struct State;
  std::unique_ptr<State> state_;
  std::chrono::steady_clock::time_point try_at_;  // not before
};

// The packed files, one behind the other. For what a stranger says as well: errors: kCorrupt (not an LZ4 block of
// `bytes` bytes, or more than any message may have), told before its memory is taken where that can be.
Result<std::string> Unpack(std::string_view lz4_block, uint64_t bytes);

}  // namespace runnel::bus
