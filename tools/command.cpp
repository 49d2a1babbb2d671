#include "tools/command.h"

#include <cstdio>

namespace runnel::tools {

int ExitCode(const Error& error) {
  switch (error.code()) {
    case Errc::kInvalid: return kExitUsage;
    case Errc::kRefused: return kExitRefused;
    case Errc::kTimeout: return kExitTimeout;
    case Errc::kConflict: return kExitFenced;
    case Errc::kUnavailable:
    case Errc::kGap:
    case Errc::kCorrupt:
    case Errc::kNotFound:
    case Errc::kExhausted:
    case Errc::kIo:
    case Errc::kUnsupported:
    case Errc::kCancelled: return kExitFailed;
  }
  return kExitFailed;
}

int Fail(const Error& error) {
  std::fprintf(stderr, "runnel: %s\n", error.message().c_str());
  return ExitCode(error);
}

}  // namespace runnel::tools
