#include "bus/open.h"

#include "bus/file/file_log.h"
#ifdef RUNNEL_WITH_NATS
#include "bus/nats/nats_log.h"
#endif
#ifdef RUNNEL_WITH_KAFKA
#include "bus/kafka/kafka_log.h"
#endif

namespace runnel::bus {

Result<std::unique_ptr<Log>> OpenLog(std::string_view url, const OpenOptions& options) {
  TRY_ASSIGN(Url parsed, ParseUrl(url));
  if (parsed.scheme == "file") return OpenFileLog(parsed, options);
#ifdef RUNNEL_WITH_NATS
  if (parsed.scheme == "nats" || parsed.scheme == "tls") return OpenNatsLog(parsed, options);
#endif
#ifdef RUNNEL_WITH_KAFKA
  if (parsed.scheme == "kafka") return OpenKafkaLog(parsed, options);
#endif
  return Error(Errc::kUnsupported,
               RedactUrl(url) + ": this program was built without the adapter for " + parsed.scheme);
}

}  // namespace runnel::bus
