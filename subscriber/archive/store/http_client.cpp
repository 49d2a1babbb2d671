#include "subscriber/archive/store/http_client.h"

#include <curl/curl.h>

#include <algorithm>
#include <array>
#include <charconv>

#include <fmt/format.h>

#include "ltx/base/check.h"

namespace runnel::store {
namespace {

constexpr size_t kIdleMax = 16;  // connections kept open; more threads than that reconnect
constexpr size_t kBodyBytesMax =
    16 << 20;  // of an answer kept in memory: 1000 listed keys of 900 bytes, all escaped, are 3 MB
constexpr size_t kHeaderCountMax = 200;
constexpr long kReceiveBytes = 256 << 10;

// Once for the process, before the first handle.
bool InitCurl() {
  static const bool done = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
  return done;
}

std::string Lower(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return out;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && (text.front() == ' ' || text.front() == '\t')) text.remove_prefix(1);
  while (!text.empty() && (text.back() == ' ' || text.back() == '\r' || text.back() == '\n')) text.remove_suffix(1);
  return text;
}

class HeaderList {
 public:
  ~HeaderList() { curl_slist_free_all(list_); }
  HeaderList() = default;
  HeaderList(const HeaderList&) = delete;
  HeaderList& operator=(const HeaderList&) = delete;
  void Add(const std::string& line) {
    curl_slist* grown = curl_slist_append(list_, line.c_str());
    CHECK(grown != nullptr, "out of memory");
    list_ = grown;
  }
  curl_slist* get() const { return list_; }

 private:
  curl_slist* list_ = nullptr;
};

Errc CodeOf(CURLcode code) {
  switch (code) {
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR: return Errc::kInvalid;
    case CURLE_ABORTED_BY_CALLBACK: return Errc::kCancelled;
    default: return Errc::kUnavailable;
  }
}

}  // namespace

std::string HttpResponse::Header(const std::string& name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? std::string() : found->second;
}

struct HttpClient::Easy {
  Easy() : handle(curl_easy_init()) { CHECK(handle != nullptr, "curl_easy_init"); }
  ~Easy() { curl_easy_cleanup(handle); }
  Easy(const Easy&) = delete;
  Easy& operator=(const Easy&) = delete;

  CURL* const handle;
  std::array<char, CURL_ERROR_SIZE> message = {};
};

// What the callbacks of one transfer share.
struct HttpClient::Exchange {
  const HttpRequest& request;
  const std::stop_token& stop;
  HttpResponse response = {};
  Status refused = Ok();  // why a callback ended the transfer

  static size_t OnHeader(char* data, size_t size, size_t count, void* self) {
    return static_cast<Exchange*>(self)->Header(std::string_view(data, size * count)) ? size * count : 0;
  }
  static size_t OnBody(char* data, size_t size, size_t count, void* self) {
    return static_cast<Exchange*>(self)->Body(std::string_view(data, size * count)) ? size * count : 0;
  }
  static int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
    return static_cast<Exchange*>(self)->stop.stop_requested() ? 1 : 0;
  }

  bool Header(std::string_view line) {
    if (line.starts_with("HTTP/")) {  // also of a "100 Continue" before the real one
      response = HttpResponse();
      const size_t blank = std::min(line.find(' '), line.size() - 1);
      std::from_chars(line.data() + blank + 1, line.data() + line.size(), response.status);
      return true;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos) return true;
    if (response.headers.size() >= kHeaderCountMax) return Refuse("the answer has more than 200 headers");
    response.headers[Lower(line.substr(0, colon))] = Trim(line.substr(colon + 1));
    return true;
  }

  bool Body(std::string_view piece) {
    if (request.sink && (response.status == 200 || response.status == 206)) {
      const Status taken = request.sink(response, AsBytes(piece));
      if (taken.ok()) return true;
      refused = Error(Errc::kCancelled, "the sink takes no more").With(taken.error().message());
      return false;
    }
    if (piece.size() > kBodyBytesMax - response.body.size()) return Refuse("the answer is larger than 16 MiB");
    response.body.append(piece);
    return true;
  }

  bool Refuse(const char* why) {
    refused = Error(Errc::kUnavailable, why);
    return false;
  }
};

HttpClient::HttpClient(Options options) : options_(std::move(options)) { CHECK(InitCurl(), "curl_global_init"); }
HttpClient::~HttpClient() = default;

std::unique_ptr<HttpClient::Easy> HttpClient::Borrow() {
  {
    MutexLock lock(mutex_);
    if (!idle_.empty()) {
      std::unique_ptr<Easy> easy = std::move(idle_.back());
      idle_.pop_back();
      return easy;
    }
  }
  return std::make_unique<Easy>();
}

void HttpClient::Return(std::unique_ptr<Easy> easy) {
  curl_easy_reset(easy->handle);  // keeps its connections
  MutexLock lock(mutex_);
  if (idle_.size() < kIdleMax) idle_.push_back(std::move(easy));
}

Result<HttpResponse> HttpClient::Send(const HttpRequest& request) {
  if (options_.stop.stop_requested()) return Error(Errc::kCancelled, "stopped");
  std::unique_ptr<Easy> easy = Borrow();
  CURL* const handle = easy->handle;
  Exchange exchange{request, options_.stop};
  HeaderList headers;
  for (const auto& [name, value] : request.headers) headers.Add(value.empty() ? name + ";" : name + ": " + value);
  headers.Add("Expect:");  // a refused body costs less than the round trip of asking first
  headers.Add("Accept:");
  const long timeout_s = std::max<long>(1, std::chrono::ceil<std::chrono::seconds>(options_.timeout).count());

  curl_easy_setopt(handle, CURLOPT_URL, request.url.c_str());
  curl_easy_setopt(handle, CURLOPT_PATH_AS_IS, 1L);  // "." is a legal part of an S3 key
  curl_easy_setopt(handle, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(handle, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(handle, CURLOPT_CUSTOMREQUEST, request.method.c_str());
  if (request.method == "HEAD") curl_easy_setopt(handle, CURLOPT_NOBODY, 1L);
  if (request.method == "PUT" || request.method == "POST") {
    curl_easy_setopt(handle, CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    curl_easy_setopt(handle, CURLOPT_POSTFIELDS,
                     request.body.empty() ? "" : reinterpret_cast<const char*>(request.body.data()));
  }
  curl_easy_setopt(handle, CURLOPT_HTTPHEADER, headers.get());
  curl_easy_setopt(handle, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(options_.timeout.count()));
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_LIMIT, 1L);
  curl_easy_setopt(handle, CURLOPT_LOW_SPEED_TIME, timeout_s);
  curl_easy_setopt(handle, CURLOPT_BUFFERSIZE, kReceiveBytes);
  curl_easy_setopt(handle, CURLOPT_ERRORBUFFER, easy->message.data());
  curl_easy_setopt(handle, CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(handle, CURLOPT_XFERINFOFUNCTION, &Exchange::OnProgress);
  curl_easy_setopt(handle, CURLOPT_XFERINFODATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_HEADERFUNCTION, &Exchange::OnHeader);
  curl_easy_setopt(handle, CURLOPT_HEADERDATA, &exchange);
  curl_easy_setopt(handle, CURLOPT_WRITEFUNCTION, &Exchange::OnBody);
  curl_easy_setopt(handle, CURLOPT_WRITEDATA, &exchange);
  if (!options_.tls_ca_file.empty()) curl_easy_setopt(handle, CURLOPT_CAINFO, options_.tls_ca_file.c_str());
  if (options_.no_proxy) curl_easy_setopt(handle, CURLOPT_NOPROXY, "*");

  easy->message[0] = '\0';
  const CURLcode code = curl_easy_perform(handle);
  const std::string detail = easy->message[0] != '\0' ? easy->message.data() : curl_easy_strerror(code);
  Return(std::move(easy));
  if (!exchange.refused.ok()) return exchange.refused.error();
  if (code != CURLE_OK) return Error(CodeOf(code), detail);
  return std::move(exchange.response);
}

}  // namespace runnel::store
