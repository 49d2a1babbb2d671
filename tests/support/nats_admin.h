// What an administrator (or an accident) does to a stream behind the back of everybody: raw JetStream API calls and
// messages.
#pragma once

#include <memory>
#include <string>

#include "bus/nats/jetstream.h"
#include "bus/nats/session.h"
#include "ltx/base/result.h"

namespace runnel::testing {

class NatsAdmin {
 public:
  // `port` of 127.0.0.1.
  explicit NatsAdmin(uint16_t port) { endpoint_.servers = {bus::HostPort{"127.0.0.1", port}}; }

  // E.g. Api("STREAM.DELETE.RUNNEL-x"): the server's answer as text. Errors: kUnavailable; kRefused with the answer if
  // that is an error of the API.
  Result<std::string> Api(const std::string& call, const std::string& body = "");

  // Publishes to a subject and waits for the stream's acknowledgement; `id` "" gives none.
  Status Publish(const std::string& subject, const std::string& payload, const std::string& id = "");

 private:
  Result<bus::nats::Session*> Connected();

  bus::nats::Endpoint endpoint_;
  std::unique_ptr<bus::nats::Session> session_;
};

}  // namespace runnel::testing
