#include "subscriber/feed/sink/open.h"

#include <unistd.h>

#include "bus/events.h"
#include "bus/url.h"
#include "subscriber/feed/sink/bus_sink.h"
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
  Result<bus::Url> parsed = bus::ParseUrl(url);
  if (!parsed.ok() || parsed->scheme == "file") return UnknownSink(url);
  return SinkTraits{parsed->name, true};
}

Result<std::unique_ptr<Sink>> OpenSink(const SinkOptions& options) {
  if (IsStdout(options.url)) {
    return std::unique_ptr<Sink>(std::make_unique<StreamSink>(STDOUT_FILENO, options.format, "stdout"));
  }
  TRY_ASSIGN(std::unique_ptr<bus::EventWriter> writer, bus::OpenEvents(options.url, options.bus));
  return std::unique_ptr<Sink>(std::make_unique<BusSink>(std::move(writer)));
}

}  // namespace runnel::feed
