// From the text of --to to a sink: the only place that names them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "bus/open.h"
#include "ltx/base/result.h"
#include "subscriber/feed/sink.h"

namespace runnel::feed {

class SseServer;

struct SinkOptions {
  std::string url;        // "-" or "stdout", or one of the URLs below
  std::string database;   // whose feed it is
  std::string state_dir;  // of the feed: a sink that keeps something puts it there
  EventFormat format = EventFormat::kDebezium;
  bus::OpenOptions bus;  // credentials and time-outs, for sinks that are buses
};

// What a sink's URL says without opening it.
struct SinkTraits {
  std::string prefix;  // what topics begin with; empty: the sink has no names
  bool keys = false;
};

// nats://[user:password@]host[,host]/SUBJECT-PREFIX (tls://), kafka://broker[,broker]/TOPIC-PREFIX,
// sse://HOST:PORT/PREFIX, or stdout. Errors: kInvalid.
Result<SinkTraits> TraitsOfSink(std::string_view url);

// Opens one sink again and again, as often as the feed begins anew. What has to outlive a sink, such as an address that
// clients are connected to, is its own.
// THREAD: one. LIFETIME: it outlives the sinks.
class SinkOpener {
 public:
  explicit SinkOpener(SinkOptions options);
  ~SinkOpener();

  // Connects. Errors: kInvalid, kUnavailable, kRefused (the sink cannot keep what it is given), kUnsupported, kIo.
  Result<std::unique_ptr<Sink>> Open();

 private:
  const SinkOptions options_;
  std::unique_ptr<SseServer> server_;
};

}  // namespace runnel::feed
