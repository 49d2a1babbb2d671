// What a node shows over HTTP: a handful of fixed paths, answered from memory.
//
// The server binds loopback unless told otherwise and answers GET (and HEAD) only. Every connection carries one
// request, and a bounded number of threads answers them; requests that wait (long polls, event streams) may take all
// threads but two, so that /metrics and /healthz are answered whatever clients wait for. More waiters than that are
// told 503.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "ltx/base/result.h"

namespace runnel {

struct HttpRequest {
  std::string path;
  std::map<std::string, std::string> query;  // of a repeated key the first
  std::string last_event_id = {};            // of a client of server-sent events that comes back; empty: none
  std::stop_token stop;                      // stops with the server: end the wait and answer

  // The value, or `fallback` when the key is absent.
  std::string Query(const std::string& key, const std::string& fallback = "") const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
};

// Sends one event to one client; false when the client has gone or the server stops. An event without a name and data
// is a keep-alive comment. Data may have several lines.
using SendEvent = std::function<bool(std::string_view event, std::string_view data)>;

// Sends text to one client as it is; false when the client has gone, has taken nothing for seconds, or the server
// stops. No text only asks for that.
using SendText = std::function<bool(std::string_view text)>;

struct HttpOptions {
  std::string listen = "127.0.0.1:9091";  // host:port (port 0: any free one), [v6]:port or unix:/path
  uint32_t threads_max = 16;              // at least 3
};

// Handlers run in the server's threads, several at once, and must not throw.
struct HttpRoutes {
  struct Page {
    std::string path;
    std::function<HttpResponse(const HttpRequest&)> answer;
    bool waits = false;  // a long poll: may wait for request.stop or its own deadline
  };
  struct EventStream {
    std::string path;
    std::function<void(const HttpRequest&, const SendEvent&)> run;  // the stream ends when it returns
  };
  // A stream whose text is the handler's own.
  struct TextStream {
    std::string path;
    std::string content_type;
    // A status of 200 lets the stream begin; any other response is the answer.
    std::function<HttpResponse(const HttpRequest&)> admit;
    std::function<void(const HttpRequest&, const SendText&)> run;  // the stream ends when it returns
  };
  std::vector<Page> pages = {};
  std::vector<EventStream> streams = {};
  std::vector<TextStream> text_streams = {};
};

class HttpServer {
 public:
  // DURABLE: nothing; on return connections are accepted. Errors: kInvalid (address), kIo (cannot bind).
  static Result<std::unique_ptr<HttpServer>> Start(HttpOptions options, HttpRoutes routes);
  // Stops accepting, asks waiting handlers to stop and waits for all to return.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // Where it listens, with the real port: "127.0.0.1:41234" or "unix:/path".
  const std::string& address() const;
  uint16_t port() const;  // 0 for a unix socket

 private:
  struct State;
  explicit HttpServer(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Asks a node: GET of `target` ("/status?db=app") at an address in the form of HttpOptions::listen.
// Errors: kUnavailable (nobody listens), kTimeout, kInvalid. Any answer is a response, whatever its status.
Result<HttpResponse> HttpGet(const std::string& address, const std::string& target, std::chrono::milliseconds timeout);

}  // namespace runnel
