// Events of a feed for HTTP clients, as server-sent events: GET /PREFIX of an address it listens on.
//
//   id: 0af7651916cd43dd8448eb211c80319c:000000000000002a:7
//   data: {"before":null,"after":{"id":1},...}
//
// A client that comes back says the id it has (Last-Event-ID, as browsers do by themselves, or ?from=TOKEN) and gets
// what is behind it. A new one begins with ?from=earliest (the oldest whole commit that is kept) or, without, with the
// next commit. Silence is broken by comments. What a client asks for and cannot get is 410 before the stream begins,
// and an event named `gone`, then the end, where it fell behind in its middle; both say what is there.
//
// Clients read from the disk (event_store.h), each in a thread of its own: how fast they are is nothing to the feed, up
// to the wait of EventStoreOptions. One that takes nothing for seconds is let go.
// THREAD: any; the store's writer is one. LIFETIME: it outlives the sinks that write to its store.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "ltx/base/http.h"
#include "ltx/base/result.h"
#include "subscriber/feed/sink/event_store.h"

namespace runnel::feed {

// sse://HOST:PORT/PREFIX[?keep=SIZE&heartbeat=DURATION&clients=N]
struct SseUrl {
  std::string listen;  // host:port
  std::string prefix;
  uint64_t keep_bytes = 256 << 20;
  std::chrono::milliseconds heartbeat{10000};
  uint32_t clients_max = 32;
};
// Errors: kInvalid, naming the part that is wrong.
Result<SseUrl> ParseSseUrl(std::string_view url);

class SseServer {
 public:
  // `dir`: where events are kept. Errors: those of EventStore::Open; kIo (the address is taken).
  static Result<std::unique_ptr<SseServer>> Start(const SseUrl& url, const std::string& dir);
  ~SseServer();

  EventStore& store() { return *store_; }
  // Where it listens, with the real port: http://127.0.0.1:8090/cdc
  std::string address() const;
  uint32_t clients() const { return clients_; }

 private:
  SseServer(const SseUrl& url, std::unique_ptr<EventStore> store) : url_(url), store_(std::move(store)) {}
  HttpResponse Admit(const HttpRequest& request);
  void Serve(const HttpRequest& request, const SendText& send);

  const SseUrl url_;
  const std::unique_ptr<EventStore> store_;
  std::atomic<uint32_t> clients_{0};
  std::unique_ptr<HttpServer> http_;  // ends first
};

}  // namespace runnel::feed
