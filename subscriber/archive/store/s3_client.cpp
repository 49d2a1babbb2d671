#include "subscriber/archive/store/s3_client.h"

#include <time.h>

#include <algorithm>

#include <curl/curl.h>
#include <fmt/format.h>

#include "subscriber/archive/store/s3_xml.h"

namespace runnel::store {
namespace {

bool IsOneOf(const std::string& text, std::initializer_list<const char*> list) {
  return std::ranges::any_of(list, [&](const char* entry) { return text == entry; });
}

// "https://host:port" without path; https if no scheme is given.
struct Endpoint {
  std::string scheme = "https";
  std::string host;
};
Endpoint SplitEndpoint(std::string_view text) {
  Endpoint endpoint;
  const size_t separator = text.find("://");
  if (separator != std::string_view::npos) {
    endpoint.scheme = text.substr(0, separator);
    text.remove_prefix(separator + 3);
  }
  endpoint.host = text.substr(0, text.find('/'));
  return endpoint;
}

bool IsLoopback(const std::string& host) {
  return host.starts_with("127.") || host.starts_with("localhost") || host.starts_with("[::1]");
}

// How far our clock is ahead of the server's Date header; empty if there is none.
std::string SkewText(const HttpResponse& response, WallTime now) {
  const time_t server = curl_getdate(response.Header("date").c_str(), nullptr);
  if (server == -1) return "";
  const int64_t ahead = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count() - server;
  return fmt::format(" by {} s ({})", ahead < 0 ? -ahead : ahead, ahead < 0 ? "ours is behind" : "ours is ahead");
}

}  // namespace

S3Client::S3Client(S3Options options)
    : options_(std::move(options)),
      http_(HttpClient::Options{.timeout = options_.timeout,
                                .tls_ca_file = options_.tls_ca_file,
                                .no_proxy = IsLoopback(SplitEndpoint(options_.endpoint).host),
                                .stop = options_.retry.stop}) {
  const bool amazon = options_.endpoint.empty();
  const Endpoint endpoint =
      SplitEndpoint(amazon ? fmt::format("s3.{}.amazonaws.com", options_.region) : options_.endpoint);
  scheme_ = endpoint.scheme;
  host_ = options_.path_style ? endpoint.host : options_.bucket + "." + endpoint.host;
  path_prefix_ = options_.path_style ? "/" + options_.bucket : "";
  location_ = fmt::format("s3://{} at {}://{}", options_.bucket, endpoint.scheme, endpoint.host);
}

Result<HttpResponse> S3Client::Once(const S3Request& request) {
  SignableRequest signable;
  signable.method = request.method;
  signable.path = request.key.empty() ? path_prefix_ : path_prefix_ + "/" + request.key;
  if (signable.path.empty()) signable.path = "/";
  signable.query = request.query;
  signable.payload_sha256 = Sha256Hex(request.body);
  SigningScope scope;
  scope.region = options_.region;
  scope.date_time = FormatAmzDate(options_.clock->Wall());
  signable.headers = request.headers;
  signable.headers.emplace_back("host", host_);
  signable.headers.emplace_back("x-amz-content-sha256", signable.payload_sha256);
  signable.headers.emplace_back("x-amz-date", scope.date_time);
  if (!options_.credentials.session_token.empty()) {
    signable.headers.emplace_back("x-amz-security-token", options_.credentials.session_token);
  }
  HttpRequest http;
  http.method = request.method;
  http.headers = signable.headers;
  http.headers.emplace_back("authorization", Authorization(signable, scope, options_.credentials));
  // Also without a body: libcurl would say that it is a form.
  const bool sends = request.method == "PUT" || request.method == "POST";
  if (sends) http.headers.emplace_back("content-type", "application/octet-stream");
  http.url = scheme_ + "://" + host_ + UriEncode(signable.path, true);
  if (!request.query.empty()) http.url += "?" + CanonicalQuery(request.query);
  http.body = request.body;
  http.sink = request.sink;
  return http_.Send(http);
}

Result<HttpResponse> S3Client::Send(const S3Request& request, std::initializer_list<int> accepted) {
  Retry retry(options_.retry);
  return Send(request, accepted, retry);
}

Result<HttpResponse> S3Client::Send(const S3Request& request, std::initializer_list<int> accepted, Retry& retry) {
  while (true) {
    Result<HttpResponse> response = Once(request);
    if (!response.ok()) {
      const Error error = ErrorOf(request, response.error());
      if (error.code() != Errc::kUnavailable) return error;
      TRY(retry.Wait(error));
      continue;
    }
    const int status = response->status;
    if ((status >= 200 && status < 300) || std::ranges::find(accepted, status) != accepted.end()) return response;
    const Error error = ErrorOf(request, *response);
    if (!IsTransient(*response)) return error;
    TRY(retry.Wait(error));
  }
}

bool S3Client::IsTransient(const HttpResponse& response) {
  switch (response.status) {
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504: return true;
    case 400:
    case 409: {
      const std::string code = ParseS3Error(response.body).code;
      return IsOneOf(
          code, {"RequestTimeout", "ConditionalRequestConflict", "OperationAborted", "SlowDown", "IncompleteBody"});
    }
    default: return false;
  }
}

Error S3Client::ErrorOf(const S3Request& request, const Error& error) const {
  return error.With(fmt::format("{}: {} {}", location_, request.method, request.key.empty() ? "bucket" : request.key));
}

// The bucket lives in another region: says in which, as far as the service tells.
Error S3Client::WrongPlace(const std::string& where, const HttpResponse& response) const {
  std::string region = response.Header("x-amz-bucket-region");
  if (region.empty()) region = ParseS3Error(response.body).region;
  const std::string hint = region.empty() ? "set the bucket's region" : fmt::format("set region={}", region);
  return Error(Errc::kInvalid, fmt::format("{}: the bucket is not in region {}: {}", where, options_.region, hint));
}

Error S3Client::ErrorOf(const S3Request& request, const HttpResponse& response) const {
  const S3ErrorText text = ParseS3Error(response.body);
  const std::string where =
      fmt::format("{}: {} {}: status {}{}{}", location_, request.method, request.key.empty() ? "bucket" : request.key,
                  response.status, text.code.empty() ? "" : " ", text.code);
  if (text.code == "RequestTimeTooSkewed") {
    return Error(Errc::kUnavailable,
                 fmt::format("{}: the clocks of this machine and of the server differ{}: set ours right", where,
                             SkewText(response, options_.clock->Wall())));
  }
  if (text.code == "NoSuchBucket") return Error(Errc::kInvalid, fmt::format("{}: there is no such bucket", where));
  if (text.code == "AuthorizationHeaderMalformed" || text.code == "PermanentRedirect" || response.status == 301 ||
      response.status == 307) {
    return WrongPlace(where, response);
  }
  const std::string said = text.message.empty() ? where : fmt::format("{}: {}", where, text.message);
  if (IsOneOf(text.code, {"QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "InsufficientStorage"}) ||
      response.status == 507) {
    return Error(Errc::kExhausted, said);
  }
  if (IsTransient(response)) return Error(Errc::kUnavailable, said);
  switch (response.status) {
    case 401:
    case 403: return Error(Errc::kInvalid, fmt::format("{} (are key id, secret and permissions right?)", said));
    case 404: return Error(Errc::kNotFound, said);
    case 412: return Error(Errc::kConflict, said);
    default: return Error(response.status < 500 ? Errc::kInvalid : Errc::kUnavailable, said);
  }
}

}  // namespace runnel::store
