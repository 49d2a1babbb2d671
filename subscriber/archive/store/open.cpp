#include "subscriber/archive/store/open.h"

#include <stdlib.h>

#include <algorithm>

#include <fmt/format.h>

#include "subscriber/archive/store/dir_store.h"
#include "subscriber/archive/store/url.h"
#ifdef RUNNEL_WITH_S3
#include "subscriber/archive/store/s3_credentials.h"
#include "subscriber/archive/store/s3_store.h"
#endif
#ifdef RUNNEL_WITH_NATS
#include "subscriber/archive/store/nats_store.h"
#endif

namespace runnel::store {
namespace {

#ifdef RUNNEL_WITH_S3
std::string Env(const char* name) {
  const char* value = ::getenv(name);
  return value != nullptr ? value : "";
}

S3Environment ReadS3Environment(const StoreCredentials& credentials) {
  S3Environment environment;
  environment.access_key_id = Env("AWS_ACCESS_KEY_ID");
  environment.secret_access_key = Env("AWS_SECRET_ACCESS_KEY");
  environment.session_token = Env("AWS_SESSION_TOKEN");
  environment.region = Env("AWS_REGION");
  if (environment.region.empty()) environment.region = Env("AWS_DEFAULT_REGION");
  environment.profile = Env("AWS_PROFILE");
  environment.credentials_file = credentials.credentials_file;
  if (environment.credentials_file.empty()) environment.credentials_file = Env("AWS_SHARED_CREDENTIALS_FILE");
  if (environment.credentials_file.empty() && !Env("HOME").empty()) {
    environment.credentials_file = Env("HOME") + "/.aws/credentials";
  }
  return environment;
}

std::string QueryValue(const Url& url, const char* key) {
  const auto found = url.query.find(key);
  return found == url.query.end() ? std::string() : found->second;
}

Result<std::unique_ptr<ObjectStore>> OpenS3(const Url& url, const StoreOptions& options) {
  const S3Environment environment = ReadS3Environment(options.credentials);
  const S3Credentials configured{options.credentials.access_key_id, options.credentials.secret_access_key,
                                 options.credentials.session_token};
  S3Options s3;
  TRY_ASSIGN(s3.credentials, FindS3Credentials(configured, environment));
  s3.bucket = url.bucket;
  s3.endpoint = QueryValue(url, "endpoint");
  const size_t separator = s3.endpoint.find("://");
  std::string_view host = s3.endpoint;
  if (separator != std::string::npos) host.remove_prefix(separator + 3);
  if (host.ends_with('/')) host.remove_suffix(1);
  if (host.find_first_of("/@?#") != std::string_view::npos || (host.empty() && !s3.endpoint.empty())) {
    return Error(Errc::kInvalid, "object store url: an endpoint is http://host[:port] or https://host[:port]");
  }
  s3.region = QueryValue(url, "region");
  if (s3.region.empty()) s3.region = environment.region;
  if (s3.region.empty()) s3.region = "us-east-1";
  const std::string path_style = QueryValue(url, "path-style");
  if (path_style != "" && path_style != "true" && path_style != "false") {
    return Error(Errc::kInvalid, "object store url: path-style is true or false");
  }
  // Servers of one's own rarely have a DNS name a bucket; a dot in a bucket's name breaks the certificate's wildcard.
  const bool by_path = !s3.endpoint.empty() || s3.bucket.find('.') != std::string::npos;
  s3.path_style = path_style.empty() ? by_path : path_style == "true";
  s3.tls_ca_file = options.credentials.tls_ca_file;
  s3.timeout = options.timeout;
  s3.retry.attempts_max = options.attempts_max;
  s3.retry.stop = options.stop;
  return OpenS3Store(std::move(s3));
}
#endif

#ifdef RUNNEL_WITH_NATS
// A server that does not answer one small request in this time is taken for dead, and the next one is asked.
constexpr std::chrono::milliseconds kNatsRequestMax(10000);

std::unique_ptr<ObjectStore> OpenNats(const Url& url, const StoreOptions& options) {
  const StoreCredentials& from = options.credentials;
  NatsStoreOptions nats;
  nats.bucket = url.bucket;
  nats.endpoint.servers = url.hosts;
  nats.endpoint.tls = url.scheme == "tls";
  nats.endpoint.client_name = options.client_name;
  nats.endpoint.timeout = std::min(options.timeout, kNatsRequestMax);
  nats.endpoint.credentials = {.user = url.user.empty() ? from.user : url.user,
                               .password = url.user.empty() ? from.password : url.password,
                               .token = from.token,
                               .creds_file = from.creds_file,
                               .nkey_file = from.nkey_file,
                               .tls_ca_file = from.tls_ca_file,
                               .tls_cert_file = from.tls_cert_file,
                               .tls_key_file = from.tls_key_file};
  nats.replicas = options.replicas;
  nats.retry.attempts_max = options.attempts_max;
  nats.retry.stop = options.stop;
  return OpenNatsStore(std::move(nats));
}
#endif

}  // namespace

Result<std::unique_ptr<ObjectStore>> OpenStore(std::string_view text, const StoreOptions& options) {
  TRY_ASSIGN(const Url url, ParseUrl(text));
  if (url.scheme == "file") return OpenDirStore(url.directory, options.stop);
#ifdef RUNNEL_WITH_S3
  if (url.scheme == "s3") {
    TRY_ASSIGN(std::unique_ptr<ObjectStore> store, OpenS3(url, options));
    return WithPrefix(std::move(store), url.prefix);
  }
#endif
#ifdef RUNNEL_WITH_NATS
  if (url.scheme == "nats" || url.scheme == "tls") return WithPrefix(OpenNats(url, options), url.prefix);
#endif
  return Error(Errc::kUnsupported,
               fmt::format("{}: this program was built without stores of kind {}", RedactUrl(text), url.scheme));
}

}  // namespace runnel::store
