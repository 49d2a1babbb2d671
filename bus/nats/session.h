// One connection to one server of a NATS deployment. It never reconnects: when it breaks it is dead, and its owner
// opens a new one. That keeps the rule "nothing of a broken writer is sent later" true without trusting the library's
// reconnect buffer (measured: it sends what was buffered during the break behind messages that were lost in it, which
// leaves holes).
//
// THREAD: any; nats.c locks inside. LIFETIME: subscriptions made on the connection must not outlive the Session.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "bus/nats/handles.h"
#include "bus/open.h"
#include "bus/url.h"
#include "ltx/base/result.h"

namespace runnel::bus::nats {

// Everything needed to connect. Holds secrets.
struct Endpoint {
  std::vector<HostPort> servers;  // not empty
  bool tls = false;
  Credentials credentials;
  std::string client_name;
  std::chrono::milliseconds timeout{5000};  // of a connect to one server, and of one request

  // "host:port,host:port"
  std::string Text() const;
};

// Errors: kInvalid (no host in the URL).
Result<Endpoint> MakeEndpoint(const Url& url, const OpenOptions& options);

class Session {
 public:
  // Tries the servers in their order, beginning with number `first` modulo their count. Errors: kInvalid (credentials
  // refused or unreadable, TLS wanted or not), kUnavailable; the message names every server tried and why it failed.
  static Result<std::unique_ptr<Session>> Connect(const Endpoint& endpoint, size_t first);
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  natsConnection* connection() const { return connection_.get(); }
  // "host:port"; for messages.
  const std::string& server() const { return server_; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  bool closed() const { return natsConnection_IsClosed(connection_.get()); }
  // Flushes nothing later: after this the server gets no more bytes of this session.
  void Close() { natsConnection_Close(connection_.get()); }
  // The server's max_payload: headers and body together.
  uint64_t max_payload() const { return static_cast<uint64_t>(natsConnection_GetMaxPayload(connection_.get())); }

  // Sends and waits for the answer's body. Errors: kUnavailable.
  Result<std::string> Request(const std::string& subject, std::string_view body);
  // The same for a message with headers.
  Result<std::string> Request(natsMsg* message);

  // kUnavailable with the library's words; `what` names the operation.
  Error Unavailable(std::string_view what, natsStatus status) const;

 private:
  Session(ConnectionHandle connection, std::string server, std::chrono::milliseconds timeout)
      : connection_(std::move(connection)), server_(std::move(server)), timeout_(timeout) {}

  const ConnectionHandle connection_;
  const std::string server_;
  const std::chrono::milliseconds timeout_;
};

}  // namespace runnel::bus::nats
