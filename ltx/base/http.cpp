#include "ltx/base/http.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <charconv>
#include <optional>
#include <thread>
#include <utility>

#include <fmt/format.h>
#include <httplib.h>

#include "ltx/base/check.h"
#include "ltx/base/fs.h"
#include "ltx/base/log.h"

namespace runnel {
namespace {

// A client that does not finish its request or does not take its answer holds a thread at most this long.
constexpr std::chrono::seconds kClientTimeout(5);
// Requests have no body worth reading.
constexpr size_t kRequestBodyMax = 4096;
// Threads that waiting requests may not take.
constexpr uint32_t kThreadsReserved = 2;

struct Address {
  std::string host;  // of a TCP address
  int port = 0;
  std::string unix_path;  // else this
};

Result<Address> ParseAddress(const std::string& text) {
  Address address;
  if (text.starts_with("unix:")) {
    address.unix_path = text.substr(5);
    if (address.unix_path.empty() || address.unix_path.size() >= sizeof(sockaddr_un::sun_path)) {
      return Error(Errc::kInvalid, fmt::format("\"{}\" is not a path a unix socket can have", text));
    }
    return address;
  }
  size_t colon = text.rfind(':');
  if (colon == std::string::npos || colon == 0) {
    return Error(Errc::kInvalid, fmt::format("\"{}\" is not an address like 127.0.0.1:9091 or unix:/path", text));
  }
  address.host = text.substr(0, colon);
  if (address.host.size() > 2 && address.host.front() == '[' && address.host.back() == ']') {
    address.host = address.host.substr(1, address.host.size() - 2);
  }
  const char* end = text.data() + text.size();
  std::from_chars_result parsed = std::from_chars(text.data() + colon + 1, end, address.port);
  if (parsed.ec != std::errc() || parsed.ptr != end || address.port < 0 || address.port > 65535) {
    return Error(Errc::kInvalid, fmt::format("\"{}\" has no port between 0 and 65535", text));
  }
  return address;
}

// A socket file nobody listens on any more keeps its name; one that somebody listens on is not ours to remove.
Status RemoveStaleSocket(const std::string& path) {
  struct stat info;
  if (::lstat(path.c_str(), &info) != 0) return Ok();
  if (!S_ISSOCK(info.st_mode)) return Error(Errc::kIo, path + " is there and not a socket");
  Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof(address.sun_path) - 1);
  if (probe.valid() && ::connect(probe.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) {
    return Error(Errc::kIo, path + " is in use by another process");
  }
  return RemoveFile(path);
}

// "event: position\ndata: line\ndata: line\n\n"
std::string RenderEvent(std::string_view event, std::string_view data) {
  if (event.empty() && data.empty()) return ": keep-alive\n\n";
  std::string out;
  if (!event.empty()) out += fmt::format("event: {}\n", event);
  for (;;) {
    size_t newline = data.find('\n');
    out += fmt::format("data: {}\n", data.substr(0, newline));
    if (newline == std::string_view::npos) break;
    data.remove_prefix(newline + 1);
  }
  out += "\n";
  return out;
}

// One of the threads that may wait; empty when all are taken.
class WaiterSlot {
 public:
  static std::optional<WaiterSlot> Take(std::atomic<uint32_t>& waiters, uint32_t waiters_max) {
    if (waiters.fetch_add(1) < waiters_max) return WaiterSlot(waiters);
    waiters.fetch_sub(1);
    return std::nullopt;
  }
  WaiterSlot(WaiterSlot&& other) noexcept : waiters_(std::exchange(other.waiters_, nullptr)) {}
  WaiterSlot& operator=(WaiterSlot&&) = delete;
  ~WaiterSlot() {
    if (waiters_ != nullptr) waiters_->fetch_sub(1);
  }

 private:
  explicit WaiterSlot(std::atomic<uint32_t>& waiters) : waiters_(&waiters) {}
  std::atomic<uint32_t>* waiters_;
};

void Reply(const HttpResponse& from, httplib::Response& to) {
  to.status = from.status;
  to.set_content(from.body, from.content_type);
}

void ReplyBusy(httplib::Response& to) {
  Reply({.status = 503, .content_type = "text/plain", .body = "too many waiting requests\n"}, to);
}

}  // namespace

std::string HttpRequest::Query(const std::string& key, const std::string& fallback) const {
  std::map<std::string, std::string>::const_iterator found = query.find(key);
  return found == query.end() ? fallback : found->second;
}

struct HttpServer::State {
  httplib::Server server;
  HttpRoutes routes;
  uint32_t waiters_max = 0;
  std::atomic<uint32_t> waiters{0};
  std::stop_source stop;
  Address bound;
  std::string address;
  std::jthread thread;

  HttpRequest Translate(const httplib::Request& from) const {
    HttpRequest request{.path = from.path, .query = {}, .stop = stop.get_token()};
    for (const auto& [key, value] : from.params) request.query.emplace(key, value);
    request.last_event_id = from.get_header_value("Last-Event-ID");
    return request;
  }

  void AddPage(const HttpRoutes::Page& page) {
    server.Get(page.path, [this, &page](const httplib::Request& request, httplib::Response& response) {
      std::optional<WaiterSlot> slot = page.waits ? TakeSlot() : std::nullopt;
      if (page.waits && !slot) return ReplyBusy(response);
      Reply(page.answer(Translate(request)), response);
    });
  }

  // An event stream is a text stream that everybody may read.
  static HttpRoutes::TextStream TextStreamOf(const HttpRoutes::EventStream& stream) {
    auto run = [run = stream.run](const HttpRequest& request, const SendText& send) {
      run(request, [&send](std::string_view event, std::string_view data) { return send(RenderEvent(event, data)); });
    };
    return {stream.path, "text/event-stream", [](const HttpRequest&) { return HttpResponse(); }, std::move(run)};
  }

  void AddStream(const HttpRoutes::TextStream& stream) {
    server.Get(stream.path, [this, &stream](const httplib::Request& from, httplib::Response& response) {
      HttpRequest request = Translate(from);
      HttpResponse admitted = stream.admit(request);
      if (admitted.status != 200) return Reply(admitted, response);
      // Held by the content provider, which runs after this handler; std::function needs a copyable capture.
      std::optional<WaiterSlot> slot = TakeSlot();
      if (!slot) return ReplyBusy(response);
      std::shared_ptr<WaiterSlot> held = std::make_shared<WaiterSlot>(std::move(*slot));
      response.set_header("Cache-Control", "no-cache");
      response.set_chunked_content_provider(
          stream.content_type, [this, &stream, held, request = std::move(request)](size_t, httplib::DataSink& sink) {
            stream.run(request, [this, &sink](std::string_view text) {
              if (stop.stop_requested()) return false;
              return text.empty() ? sink.is_writable() : sink.write(text.data(), text.size());
            });
            sink.done();
            return true;
          });
    });
  }

  std::optional<WaiterSlot> TakeSlot() { return WaiterSlot::Take(waiters, waiters_max); }

  void Configure(uint32_t threads_max) {
    CHECK(threads_max > kThreadsReserved, "the server needs more threads than it reserves");
    waiters_max = threads_max - kThreadsReserved;
    server.new_task_queue = [threads_max] {
      return new httplib::ThreadPool(threads_max);  // NOLINT: httplib takes the ownership of a bare pointer
    };
    server.set_keep_alive_max_count(1);
    server.set_read_timeout(kClientTimeout);
    server.set_write_timeout(kClientTimeout);
    server.set_payload_max_length(kRequestBodyMax);
    // The library's default would share the port with another process (SO_REUSEPORT) without a word.
    server.set_socket_options([](socket_t sock) {
      int yes = 1;
      ::setsockopt(sock, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    });
    server.set_exception_handler([](const httplib::Request& request, httplib::Response& response, std::exception_ptr) {
      Log(Level::kError, "http_handler_failed", {{"path", request.path}});
      response.status = 500;
    });
    for (const HttpRoutes::Page& page : routes.pages) AddPage(page);
    for (const HttpRoutes::EventStream& stream : routes.streams) routes.text_streams.push_back(TextStreamOf(stream));
    for (const HttpRoutes::TextStream& stream : routes.text_streams) AddStream(stream);
  }

  Status Bind(const std::string& listen) {
    TRY_ASSIGN(bound, ParseAddress(listen));
    if (!bound.unix_path.empty()) {
      TRY(RemoveStaleSocket(bound.unix_path));
      server.set_address_family(AF_UNIX);
      if (!server.bind_to_port(bound.unix_path, 1)) return ErrnoError(errno, "listen on " + listen);
      address = listen;
      return Ok();
    }
    if (bound.port == 0) {
      bound.port = server.bind_to_any_port(bound.host);
      if (bound.port <= 0) return Error(Errc::kIo, "listen on " + listen + ": cannot bind");
    } else if (!server.bind_to_port(bound.host, bound.port)) {
      return Error(Errc::kIo, "listen on " + listen + ": the address is in use or not ours");
    }
    address = fmt::format("{}:{}", listen.substr(0, listen.rfind(':')), bound.port);
    return Ok();
  }
};

Result<std::unique_ptr<HttpServer>> HttpServer::Start(HttpOptions options, HttpRoutes routes) {
  std::unique_ptr<State> state = std::make_unique<State>();
  state->routes = std::move(routes);
  state->Configure(options.threads_max);
  TRY(state->Bind(options.listen));
  State* running = state.get();
  state->thread = std::jthread([running] { running->server.listen_after_bind(); });
  // stop() before the loop has begun would be lost; the loop begins within microseconds.
  while (!running->server.is_running()) std::this_thread::yield();
  return std::unique_ptr<HttpServer>(new HttpServer(std::move(state)));  // NOLINT: the constructor is private
}

HttpServer::HttpServer(std::unique_ptr<State> state) : state_(std::move(state)) {}

HttpServer::~HttpServer() {
  state_->stop.request_stop();
  state_->server.stop();
  state_->thread.join();
  if (!state_->bound.unix_path.empty()) ::unlink(state_->bound.unix_path.c_str());
}

const std::string& HttpServer::address() const { return state_->address; }
uint16_t HttpServer::port() const { return static_cast<uint16_t>(state_->bound.port); }

Result<HttpResponse> HttpGet(const std::string& address, const std::string& target, std::chrono::milliseconds timeout) {
  TRY_ASSIGN(Address to, ParseAddress(address));
  bool local = !to.unix_path.empty();
  httplib::Client client(local ? to.unix_path : to.host, local ? 80 : to.port);
  if (local) {
    client.set_address_family(AF_UNIX);
    client.set_default_headers({{"Host", "localhost"}});
  }
  client.set_connection_timeout(timeout);
  client.set_read_timeout(timeout);
  client.set_write_timeout(timeout);
  httplib::Result result = client.Get(target);
  if (!result) {
    Errc code = result.error() == httplib::Error::Read ? Errc::kTimeout : Errc::kUnavailable;
    return Error(code, fmt::format("{}: {}", address, httplib::to_string(result.error())));
  }
  return HttpResponse{.status = result->status,
                      .content_type = result->get_header_value("Content-Type"),
                      .body = std::move(result->body)};
}

}  // namespace runnel
