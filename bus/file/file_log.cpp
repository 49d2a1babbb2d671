#include "bus/file/file_log.h"

namespace runnel::bus {

Result<std::unique_ptr<Log>> OpenFileLog(const Url& url, const OpenOptions&) {
  return Error(Errc::kUnsupported, "file log of " + url.name + ": not built yet");
}

}  // namespace runnel::bus
