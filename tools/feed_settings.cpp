#include "tools/feed_settings.h"

#include <memory>

#include "subscriber/feed/sink/open.h"
#include "tools/version.h"

namespace runnel::tools {

Result<subscriber::FeedConfig> FeedConfigFor(const FeedSettings& settings) {
  subscriber::FeedConfig config;
  config.bus_url = settings.bus_url;
  config.name = settings.database;
  config.bus = settings.bus;
  config.bus.client_name = "runnel feed " + settings.database;
  config.archive_url = settings.archive;
  config.store = settings.store;
  config.state_dir = settings.state;
  if (!settings.from.empty()) {
    TRY_ASSIGN(config.start, subscriber::ParseFeedStart(settings.from));
  }
  config.start_only_new = settings.from_only_new;
  config.include = settings.tables;
  config.exclude = settings.exclude;
  if (settings.format != "debezium" && settings.format != "protobuf") {
    return Error(Errc::kInvalid, "format \"" + settings.format + "\": debezium or protobuf");
  }
  config.format = settings.format == "debezium" ? feed::EventFormat::kDebezium : feed::EventFormat::kProtobuf;
  if (settings.schemas && settings.format != "debezium") {
    return Error(Errc::kInvalid, "schemas belong to the format debezium; protobuf has its own");
  }
  config.schemas = settings.schemas;
  config.value_bytes_max = settings.value_bytes_max;
  TRY_ASSIGN(feed::SinkTraits traits, feed::TraitsOfSink(settings.to));
  config.feed_name = !settings.name.empty() ? settings.name : !traits.prefix.empty() ? traits.prefix : "runnel";
  config.version = kVersion;
  config.keys = traits.keys;
  config.once = settings.once;
  // Shared, because a std::function is copied; it lives as long as the feed's configuration.
  auto opener = std::make_shared<feed::SinkOpener>(
      feed::SinkOptions{settings.to, settings.database, settings.state, config.format, config.bus});
  config.open_sink = [opener] { return opener->Open(); };
  return config;
}

}  // namespace runnel::tools
