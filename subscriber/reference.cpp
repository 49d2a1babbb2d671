#include "subscriber/reference.h"

#include <algorithm>
#include <utility>

#include "bus/url.h"
#include "subscriber/archive/store/url.h"

namespace runnel::subscriber {
namespace {

bool HasLogin(const store::StoreCredentials& credentials) {
  return !credentials.user.empty() || !credentials.token.empty() || !credentials.creds_file.empty() ||
         !credentials.nkey_file.empty();
}

}  // namespace

store::StoreOptions OptionsForReference(const std::string& url, const std::string& bus_url, const bus::OpenOptions& bus,
                                        store::StoreOptions configured) {
  const Result<store::Url> archive = store::ParseUrl(url);
  // Whoever opens it says what is wrong with it.
  if (!archive.ok() || (archive->scheme != "nats" && archive->scheme != "tls")) return configured;
  const Result<bus::Url> log = bus::ParseUrl(bus_url);
  const bool own =
      log.ok() && log->scheme == archive->scheme && std::ranges::all_of(archive->hosts, [&](const bus::HostPort& host) {
        return std::ranges::find(log->hosts, host) != log->hosts.end();
      });
  store::StoreCredentials& credentials = configured.credentials;
  if (!own) {
    credentials.user.clear();
    credentials.password.clear();
    credentials.token.clear();
  } else if (!HasLogin(credentials)) {
    credentials.user = log->user.empty() ? bus.credentials.user : log->user;
    credentials.password = log->user.empty() ? bus.credentials.password : log->password;
    credentials.token = bus.credentials.token;
    credentials.creds_file = bus.credentials.creds_file;
    credentials.nkey_file = bus.credentials.nkey_file;
  }
  if (own && credentials.tls_ca_file.empty()) {
    credentials.tls_ca_file = bus.credentials.tls_ca_file;
    credentials.tls_cert_file = bus.credentials.tls_cert_file;
    credentials.tls_key_file = bus.credentials.tls_key_file;
  }
  return configured;
}

}  // namespace runnel::subscriber
