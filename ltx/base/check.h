// CHECK is for bugs of ours: it stays on in release and ends the process, because a wrong byte is worse than a crash.
// Data from disk, network or configuration must never be able to trip it; those are Results.
#pragma once

#include <string_view>

namespace runnel {

// Prints "check failed: <condition> (<detail>) at <file>:<line>" to stderr and aborts.
[[noreturn]] void CheckFailed(const char* condition, std::string_view detail, const char* file, int line);

}  // namespace runnel

#define CHECK(cond, detail)                                     \
  do {                                                          \
    if (!(cond)) [[unlikely]] {                                 \
      ::runnel::CheckFailed(#cond, detail, __FILE__, __LINE__); \
    }                                                           \
  } while (false)
