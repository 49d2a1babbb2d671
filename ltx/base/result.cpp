#include "ltx/base/result.h"

#include <cerrno>
#include <system_error>

namespace runnel {

std::string_view ToString(Errc code) {
  switch (code) {
    case Errc::kUnavailable: return "unavailable";
    case Errc::kTimeout: return "timeout";
    case Errc::kGap: return "gap";
    case Errc::kCorrupt: return "corrupt";
    case Errc::kConflict: return "conflict";
    case Errc::kRefused: return "refused";
    case Errc::kNotFound: return "not_found";
    case Errc::kExhausted: return "exhausted";
    case Errc::kIo: return "io";
    case Errc::kInvalid: return "invalid";
    case Errc::kUnsupported: return "unsupported";
    case Errc::kCancelled: return "cancelled";
  }
  return "unknown";
}

Error ErrnoError(int err, std::string_view what) {
  Errc code = Errc::kIo;
  if (err == ENOSPC || err == EDQUOT) {
    code = Errc::kExhausted;
  } else if (err == ENOENT) {
    code = Errc::kNotFound;
  }
  return Error(code, std::string(what) + ": " + std::generic_category().message(err));
}

}  // namespace runnel
