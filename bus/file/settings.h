// What the URL of a file log can say.
#pragma once

#include <chrono>
#include <cstdint>

namespace runnel::bus::file {

struct Settings {
  // Acked means synced to disk; else acked means written (survives the process, not the machine).
  bool sync = true;
  // A segment that has reached this size is closed. Small enough that trimming gives space back soon, large enough that
  // the pause for closing one (about a millisecond) is rare.
  uint64_t segment_bytes = 64 << 20;
  // Closed segments whose newest message is older than this are deleted when the next one is closed; 0 = never.
  std::chrono::microseconds retention{0};
};

}  // namespace runnel::bus::file
