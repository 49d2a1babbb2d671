#include "subscriber/feed/sink/sse_server.h"

#include <algorithm>
#include <charconv>
#include <utility>

#include "bus/url.h"
#include "ltx/base/log.h"
#include "ltx/base/time.h"
#include "ltx/base/units.h"
#include "subscriber/feed/json_text.h"

namespace runnel::feed {
namespace {

using std::chrono::milliseconds;

constexpr std::string_view kScheme = "sse://";
// The port has to be said: it is where others will look.
constexpr std::string_view kForm = "sse://HOST:PORT/PREFIX";
// Less would not hold a segment of one event each.
constexpr uint64_t kKeepBytesMin = 64 << 10;
constexpr milliseconds kHeartbeatMin{100};
constexpr milliseconds kHeartbeatMax{60000};
constexpr uint32_t kClientsMax = 1000;
// How long one that has gone may hold its place while there is nothing to send.
constexpr milliseconds kLookAfterClient{1000};
// What browsers wait before they come back.
constexpr std::string_view kHello = "retry: 1000\n\n";
constexpr std::string_view kHeartbeat = ": heartbeat\n\n";
// The server keeps two threads for answers that do not wait.
constexpr uint32_t kThreadsReserved = 2;

Error Invalid(const std::string& what) { return Error(Errc::kInvalid, "sink " + std::string(kForm) + ": " + what); }

Status TakeParameter(std::string_view key, const std::string& value, SseUrl& url) {
  if (key == "keep") {
    TRY_ASSIGN(url.keep_bytes, ParseSize(value));
    return url.keep_bytes >= kKeepBytesMin ? Ok() : Status(Invalid("keep has to be at least 64KiB"));
  }
  if (key == "heartbeat") {
    TRY_ASSIGN(url.heartbeat, ParseDuration(value));
    const bool fits = url.heartbeat >= kHeartbeatMin && url.heartbeat <= kHeartbeatMax;
    return fits ? Ok() : Status(Invalid("heartbeat has to be from 100ms to 1m"));
  }
  if (key == "clients") {
    auto [end, err] = std::from_chars(value.data(), value.data() + value.size(), url.clients_max);
    const bool number = err == std::errc() && end == value.data() + value.size();
    return number && url.clients_max >= 1 && url.clients_max <= kClientsMax
               ? Ok()
               : Status(Invalid("clients has to be a number from 1 to 1000"));
  }
  return Invalid("there is no parameter \"" + std::string(key) + "\": keep, heartbeat, clients");
}

// Where a request wants to begin. Errors: kInvalid.
Result<EventStart> StartOf(const HttpRequest& request) {
  const std::string asked = request.last_event_id.empty() ? request.Query("from", "latest") : request.last_event_id;
  if (asked == "earliest") return EventStart(AtOldest());
  if (asked == "latest") return EventStart(AtNewest());
  if (std::optional<Token> token = ParseToken(asked)) return EventStart(*token);
  return Error(Errc::kInvalid,
               "\"" + asked.substr(0, 200) + "\" is neither earliest nor latest nor a token of an event");
}

void PutToken(JsonText& json, std::string_view name, const std::optional<Token>& token) {
  json.Put(",\"");
  json.Put(name);
  json.Put("\":");
  if (!token) return json.Put("null");
  json.String(ToString(*token));
}

// {"error":"...","oldest":"TOKEN","newest":"TOKEN"}
std::string Problem(const Error& error, const KeptEvents& kept) {
  JsonText json;
  json.Put("{\"error\":");
  json.String(IsUtf8(error.message()) ? error.message() : "not UTF-8");
  PutToken(json, "oldest", kept.oldest);
  PutToken(json, "newest", kept.newest);
  json.Put('}');
  return std::string(json.view());
}

void AppendEvent(std::string& out, const Token& token, std::string_view text) {
  out += "id: ";
  out += ToString(token);
  out += "\ndata: ";
  out += text;  // JSON: no line ends inside
  out += "\n\n";
}

// Counts itself for as long as it lives.
class Counted {
 public:
  explicit Counted(std::atomic<uint32_t>& count) : count_(count) { ++count_; }
  ~Counted() { --count_; }
  Counted(const Counted&) = delete;
  Counted& operator=(const Counted&) = delete;

 private:
  std::atomic<uint32_t>& count_;
};

}  // namespace

Result<SseUrl> ParseSseUrl(std::string_view text) {
  SseUrl url;
  if (!text.starts_with(kScheme)) return Invalid("it begins with sse://");
  std::string_view rest = text.substr(kScheme.size());
  const size_t question = rest.find('?');
  std::string_view query = question == std::string_view::npos ? std::string_view() : rest.substr(question + 1);
  rest = rest.substr(0, question);
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return Invalid("no prefix");
  url.listen = rest.substr(0, slash);
  url.prefix = rest.substr(slash + 1);
  if (url.listen.rfind(':') == std::string::npos || url.listen.ends_with(']')) return Invalid("no port");
  if (!bus::IsDatabaseName(url.prefix)) {
    return Invalid("PREFIX is 1 to 64 of the characters A-Z a-z 0-9 _ -");
  }
  while (!query.empty()) {
    const size_t end = std::min(query.find('&'), query.size());
    const std::string_view pair = query.substr(0, end);
    query.remove_prefix(std::min(end + 1, query.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    TRY(TakeParameter(pair.substr(0, equals), std::string(pair.substr(std::min(equals + 1, pair.size()))), url));
  }
  return url;
}

Result<std::unique_ptr<SseServer>> SseServer::Start(const SseUrl& url, const std::string& dir) {
  EventStoreOptions options;
  options.dir = dir;
  options.keep_bytes = url.keep_bytes;
  TRY_ASSIGN(std::unique_ptr<EventStore> store, EventStore::Open(std::move(options)));
  std::unique_ptr<SseServer> server(new SseServer(url, std::move(store)));  // private constructor
  SseServer* self = server.get();
  HttpRoutes routes;
  routes.text_streams.push_back(
      {"/" + url.prefix, "text/event-stream", [self](const HttpRequest& request) { return self->Admit(request); },
       [self](const HttpRequest& request, const SendText& send) { self->Serve(request, send); }});
  TRY_ASSIGN(server->http_,
             HttpServer::Start({.listen = url.listen, .threads_max = url.clients_max + kThreadsReserved}, routes));
  Log(Level::kInfo, "feed_listens", {{"address", server->address()}});
  return server;
}

SseServer::~SseServer() = default;

std::string SseServer::address() const { return "http://" + http_->address() + "/" + url_.prefix; }

HttpResponse SseServer::Admit(const HttpRequest& request) {
  auto refuse = [this](int status, const Error& error) {
    return HttpResponse{.status = status, .body = Problem(error, store_->kept()) + "\n"};
  };
  Result<EventStart> start = StartOf(request);
  if (!start.ok()) return refuse(400, start.error());
  Result<std::unique_ptr<EventReader>> reader = store_->Read(*start);
  if (!reader.ok()) return refuse(410, reader.error());
  return {};
}

void SseServer::Serve(const HttpRequest& request, const SendText& send) {
  Counted counted(clients_);
  std::string text(kHello);
  auto gone = [&](const Error& error) {
    text += "event: gone\ndata: " + Problem(error, store_->kept()) + "\n\n";
    (void)send(text);  // the stream ends here, whether it arrives or not
  };
  const Result<EventStart> start = StartOf(request);
  if (!start.ok()) return gone(start.error());
  const KeptEvents kept = store_->kept();
  Result<std::unique_ptr<EventReader>> reader = store_->Read(*start);
  if (!reader.ok()) return gone(reader.error());
  // Without data it is no event, but a client that loses its connection now knows where it was.
  if (std::holds_alternative<AtNewest>(*start) && kept.newest && kept.newest_ends) {
    text += "id: " + ToString(*kept.newest) + "\n\n";
  }
  auto take = [&text](const Token& token, std::string_view event) { AppendEvent(text, token, event); };
  SteadyTime sent_at = std::chrono::steady_clock::now();
  while (!request.stop.stop_requested()) {
    const bool due = text.empty() && std::chrono::steady_clock::now() - sent_at >= url_.heartbeat;
    if (due) text += kHeartbeat;
    if (!send(text)) return;
    if (!text.empty()) sent_at = std::chrono::steady_clock::now();
    text.clear();
    const SteadyTime next_look = std::min(DeadlineIn(kLookAfterClient), sent_at + url_.heartbeat);
    const Status read = (*reader)->Next(next_look, request.stop, take);
    if (read.ok() || read.code() == Errc::kTimeout) continue;
    if (read.code() == Errc::kCancelled) return;
    Log(Level::kWarn, "feed_client_let_go", {{"err", read.error().message()}});
    return gone(read.error());
  }
}

}  // namespace runnel::feed
