// From a URL to a log: the only place that names adapters.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "bus/bus.h"
#include "bus/shared.h"
#include "bus/url.h"

namespace runnel::bus {

// Credentials and transport security; empty means "not used". Values are secrets: never logged.
struct Credentials {
  std::string user;
  std::string password;
  std::string token;
  std::string creds_file;  // NATS: JWT and seed
  std::string nkey_file;   // NATS: seed
  std::string tls_ca_file;
  std::string tls_cert_file;
  std::string tls_key_file;
};

struct OpenOptions {
  Credentials credentials;
  std::string client_name;            // shown in the server's connection lists
  uint32_t replicas = 1;              // of a log this process creates
  std::chrono::hours retention{168};  // of a log this process creates: age after which its messages may go; 0: none
  bool force = false;                 // accept a log with dangerous settings
  std::chrono::milliseconds connect_timeout{5000};
  std::shared_ptr<Shared> shared;  // connections shared with the other logs opened with it; null: none are
};

// file:///dir/NAME, nats://[user:password@]host[:port][,host...]/NAME, tls://..., kafka://host[:port][,host...]/NAME.
// NAME is [A-Za-z0-9_-]{1,64}. Connects lazily where the library allows: a bus that is away is kUnavailable from the
// calls of Log, not from here. Errors: kInvalid (the URL, with what is wrong), kUnsupported (adapter not built in),
// kUnavailable.
Result<std::unique_ptr<Log>> OpenLog(std::string_view url, const OpenOptions& options);

}  // namespace runnel::bus
