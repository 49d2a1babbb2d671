// From the text of --to to a sink: the only place that names them.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "bus/open.h"
#include "ltx/base/result.h"
#include "subscriber/feed/sink.h"

namespace runnel::feed {

struct SinkOptions {
  std::string url;       // "-" or "stdout", or one of the URLs below
  std::string database;  // whose feed it is
  EventFormat format = EventFormat::kDebezium;
  bus::OpenOptions bus;  // credentials and time-outs, for sinks that are buses
};

// What a sink's URL says without opening it.
struct SinkTraits {
  std::string prefix;  // what topics begin with; empty: the sink has no names
  bool keys = false;
};

// nats://[user:password@]host[,host]/SUBJECT-PREFIX (tls://), kafka://broker[,broker]/TOPIC-PREFIX, or stdout. Errors:
// kInvalid.
Result<SinkTraits> TraitsOfSink(std::string_view url);

// Connects. Errors: kInvalid, kUnavailable, kRefused (the sink cannot keep what it is given), kUnsupported.
Result<std::unique_ptr<Sink>> OpenSink(const SinkOptions& options);

}  // namespace runnel::feed
