// One HTTP exchange at a time over libcurl, with connections kept for the next one. Knows nothing of S3 and never
// repeats a request.
//
// THREAD: any; each exchange borrows an easy handle from a pool.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"

namespace runnel::store {

struct HttpResponse {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of two with one name the last
  std::string body;                            // what did not go to a sink

  // Empty if it is not there.
  std::string Header(const std::string& name) const;
};

struct HttpRequest {
  std::string method;
  std::string url;
  std::vector<std::pair<std::string, std::string>> headers = {};
  Bytes body = {};  // borrowed for the call
  // If set, takes the body of an answer with status 200 or 206 in pieces; an error of its ends the exchange
  // (kCancelled).
  std::function<Status(const HttpResponse& head, Bytes piece)> sink = {};
};

class HttpClient {
 public:
  struct Options {
    std::chrono::milliseconds timeout{30000};  // of a connect, and of a time without any byte moving
    std::string tls_ca_file = {};
    bool no_proxy = false;  // do not look at http_proxy and the like
    std::stop_token stop = {};
  };

  explicit HttpClient(Options options);
  ~HttpClient();

  // Any status is a success here. Errors: kUnavailable (no connection, cut, silent), kInvalid (the certificate is not
  // trusted, the URL is none), kCancelled (a stop, or the sink said no). The message is curl's, without the URL's
  // query.
  Result<HttpResponse> Send(const HttpRequest& request);

 private:
  struct Easy;  // an easy handle
  struct Exchange;
  std::unique_ptr<Easy> Borrow();
  void Return(std::unique_ptr<Easy> easy);

  const Options options_;
  Mutex mutex_;
  std::vector<std::unique_ptr<Easy>> idle_ GUARDED_BY(mutex_);
};

}  // namespace runnel::store
