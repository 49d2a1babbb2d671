// The parts of a bus URL, checked. One parser for all adapters, so that a URL means the same everywhere:
//
//   file:///absolute/dir/NAME[?key=value&...]
//   nats://[user[:password]@]host[:port][,host[:port]...]/NAME[?...]      tls://... the same, encrypted
//   kafka://host[:port][,host[:port]...]/NAME[?...]
//
// User, password, directory and query values are percent-decoded. NAME is [A-Za-z0-9_-]{1,64}.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "ltx/base/result.h"

namespace runnel::bus {

// One server. An IPv6 address stands without its brackets.
struct HostPort {
  std::string host;
  uint16_t port = 0;  // 0: the adapter's default
  auto operator<=>(const HostPort&) const = default;
};
// "host:port", brackets around an IPv6 address; `default_port` where none was given.
std::string ToString(const HostPort& server, uint16_t default_port);

struct Url {
  std::string scheme;           // lower case
  std::string user;             // secret together with the password
  std::string password;         // secret: never logged
  std::vector<HostPort> hosts;  // empty for file
  std::string directory;        // file only: absolute, without the name and without a slash at its end ("" is the root)
  std::string name;             // of the database
  std::map<std::string, std::string> query;
};

// Errors: kInvalid, naming the part that is wrong. The message never repeats user or password.
Result<Url> ParseUrl(std::string_view text);

// Whether text is a database name: [A-Za-z0-9_-]{1,64}.
bool IsDatabaseName(std::string_view text);

// The URL without user, password and query (which may hold secrets), for messages and logs. Takes any text.
std::string RedactUrl(std::string_view url);

}  // namespace runnel::bus
