#include "tools/source_kind.h"

#include <memory>
#include <string_view>

#include "bus/open.h"
#include "subscriber/archive/store/url.h"

namespace runnel::tools {
namespace {

enum class Kind { kArchive, kBus };

Result<Kind> KindOf(const NodeSettings& settings, const std::string& url) {
  const std::string_view scheme = std::string_view(url).substr(0, url.find("://"));
  if (scheme.size() == url.size()) {
    return Error(Errc::kInvalid, "\"" + url +
                                     "\" is not a URL: give file:///dir, s3://bucket/prefix, nats://host/NAME "
                                     "or kafka://host/NAME");
  }
  if (scheme == "kafka") return Kind::kBus;
  if (scheme != "file" && scheme != "nats" && scheme != "tls") return Kind::kArchive;
  bus::OpenOptions options = BusOptionsFor(settings, url);
  options.client_name = "runnel restore";
  options.force = true;
  Result<std::unique_ptr<bus::Log>> log = bus::OpenLog(url, options);
  // What cannot be the name of a log (a bucket with a prefix, a directory with a dot) may still be an archive.
  if (!log.ok()) return store::ParseUrl(url).ok() ? Result<Kind>(Kind::kArchive) : Result<Kind>(log.error());
  Result<bus::LogInfo> info = (*log)->Info();
  if (info.ok()) return Kind::kBus;
  if (info.code() == Errc::kNotFound) return Kind::kArchive;
  return info.error();
}

}  // namespace

Result<Sources> SourcesOf(const NodeSettings& settings, const std::vector<std::string>& urls) {
  Sources sources;
  for (const std::string& url : urls) {
    TRY_ASSIGN(const Kind kind, KindOf(settings, url));
    std::optional<std::string>& slot = kind == Kind::kBus ? sources.bus : sources.archive;
    if (slot) {
      const char* what = kind == Kind::kBus ? "buses" : "archives";
      return Error(Errc::kInvalid, std::string("two ") + what + " given: a restore reads one archive and one bus");
    }
    slot = url;
  }
  return sources;
}

}  // namespace runnel::tools
