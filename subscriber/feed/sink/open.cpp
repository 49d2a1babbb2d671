#include "subscriber/feed/sink/open.h"

#include <unistd.h>

#include <utility>

#include "bus/events.h"
#include "bus/url.h"
#include "subscriber/feed/sink/bus_sink.h"
#include "subscriber/feed/sink/sse_server.h"
#include "subscriber/feed/sink/sse_sink.h"
#include "subscriber/feed/sink/stream_sink.h"

namespace runnel::feed {
namespace {

bool IsSse(std::string_view url) { return url.starts_with("sse:"); }
bool IsStdout(std::string_view url) { return url == "-" || url == "stdout"; }

Error UnknownSink(std::string_view url) {
  return Error(Errc::kInvalid, "\"" + bus::RedactUrl(url) +
                                   "\" is no sink: stdout, nats://host/SUBJECT-PREFIX, kafka://broker/TOPIC-PREFIX or "
                                   "sse://host:port/PREFIX");
}

}  // namespace

Result<SinkTraits> TraitsOfSink(std::string_view url) {
  if (IsStdout(url)) return SinkTraits();
  if (IsSse(url)) {
    TRY_ASSIGN(const SseUrl sse, ParseSseUrl(url));
    return SinkTraits{sse.prefix, false};
  }
  Result<bus::Url> parsed = bus::ParseUrl(url);
  if (!parsed.ok() || parsed->scheme == "file") return UnknownSink(url);
  return SinkTraits{parsed->name, true};
}

SinkOpener::SinkOpener(SinkOptions options) : options_(std::move(options)) {}
SinkOpener::~SinkOpener() = default;

Result<std::unique_ptr<Sink>> SinkOpener::Open() {
  if (IsStdout(options_.url)) {
    return std::unique_ptr<Sink>(std::make_unique<StreamSink>(STDOUT_FILENO, options_.format, "stdout"));
  }
  if (IsSse(options_.url)) {
    if (options_.format != EventFormat::kDebezium) {
      return Error(Errc::kInvalid, "server-sent events are text: --format debezium");
    }
    if (server_ == nullptr) {
      TRY_ASSIGN(const SseUrl url, ParseSseUrl(options_.url));
      TRY_ASSIGN(server_, SseServer::Start(url, options_.state_dir + "/events-" + url.prefix));
    }
    return std::unique_ptr<Sink>(std::make_unique<SseSink>(*server_));
  }
  TRY_ASSIGN(std::unique_ptr<bus::EventWriter> writer, bus::OpenEvents(options_.url, options_.bus));
  return std::unique_ptr<Sink>(std::make_unique<BusSink>(std::move(writer)));
}

}  // namespace runnel::feed
