#include "subscriber/feed/sink/open.h"

#include <unistd.h>

#include "bus/url.h"
#include "subscriber/feed/sink/stream_sink.h"

namespace runnel::feed {
namespace {

bool IsStdout(std::string_view url) { return url == "-" || url == "stdout"; }

Error UnknownSink(std::string_view url) {
  return Error(Errc::kInvalid, "\"" + bus::RedactUrl(url) +
                                   "\" is no sink: stdout, nats://host/SUBJECT-PREFIX or kafka://broker/TOPIC-PREFIX");
}

}  // namespace

Result<SinkTraits> TraitsOfSink(std::string_view url) {
  if (IsStdout(url)) return SinkTraits();
  return UnknownSink(url);
}

Result<std::unique_ptr<Sink>> OpenSink(const SinkOptions& options) {
  if (IsStdout(options.url)) {
    return std::unique_ptr<Sink>(std::make_unique<StreamSink>(STDOUT_FILENO, options.format, "stdout"));
  }
  return UnknownSink(options.url);
}

}  // namespace runnel::feed
