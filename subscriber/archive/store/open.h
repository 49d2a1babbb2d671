// From a URL to an object store: the only place that names the kinds of stores.
#pragma once

#include <chrono>
#include <memory>
#include <stop_token>
#include <string>
#include <string_view>

#include "ltx/base/result.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::store {

// Empty means "not set". Secrets: never logged.
struct StoreCredentials {
  // S3; else AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, else the file.
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;
  std::string
      credentials_file;  // else AWS_SHARED_CREDENTIALS_FILE, else ~/.aws/credentials; section AWS_PROFILE or [default]
  // NATS; user and password may stand in the URL instead.
  std::string user;
  std::string password;
  std::string token;
  std::string creds_file;
  std::string nkey_file;
  // Both.
  std::string tls_ca_file;
  std::string tls_cert_file;  // NATS
  std::string tls_key_file;   // NATS
};

struct StoreOptions {
  StoreCredentials credentials;
  std::string client_name = "runnel";
  std::chrono::milliseconds timeout{30000};  // of one request without any progress
  uint32_t attempts_max = 8;                 // of one request
  uint32_t replicas = 1;                     // of a NATS bucket made by this process
  // Once asked for, running and later calls end with kCancelled within about a second.
  std::stop_token stop;
};

// URLs: url.h. Connects lazily: a store that is away is kUnavailable from its verbs, not from here.
// Errors: kInvalid (the URL or the credentials, with what is wrong), kUnsupported (kind not built in).
Result<std::unique_ptr<ObjectStore>> OpenStore(std::string_view url, const StoreOptions& options = {});

}  // namespace runnel::store
