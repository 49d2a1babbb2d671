#include "bus/events.h"
#include "bus/url.h"
#ifdef RUNNEL_WITH_NATS
#include "bus/nats/event_stream.h"
#endif
#ifdef RUNNEL_WITH_KAFKA
#include "bus/kafka/event_topics.h"
#endif

namespace runnel::bus {

Result<std::unique_ptr<EventWriter>> OpenEvents(std::string_view url, const OpenOptions& options) {
  TRY_ASSIGN(Url parsed, ParseUrl(url));
#ifdef RUNNEL_WITH_NATS
  if (parsed.scheme == "nats" || parsed.scheme == "tls") return nats::OpenEventStream(parsed, options);
#endif
#ifdef RUNNEL_WITH_KAFKA
  if (parsed.scheme == "kafka") return kafka::OpenEventTopics(parsed, options);
#endif
  return Error(Errc::kUnsupported, RedactUrl(url) + ": events cannot be written to " + parsed.scheme);
}

}  // namespace runnel::bus
