#include "bus/url.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <optional>

namespace runnel::bus {
namespace {

constexpr size_t kNameBytesMax = 64;   // fits a JetStream stream name and a Kafka topic with our prefix
constexpr size_t kUrlBytesMax = 4096;  // longer is a mistake, and messages quote parts of it
constexpr size_t kHostCountMax = 64;   // more servers than any cluster we have seen
constexpr std::string_view kSeparator = "://";

Error Invalid(std::string message) { return Error(Errc::kInvalid, "bus url: " + std::move(message)); }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

// nullopt: a '%' without two hex digits, or an encoded NUL (no file, user or password has one, C interfaces end there).
std::optional<std::string> PercentDecode(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out.push_back(text[i]);
      continue;
    }
    if (i + 2 >= text.size()) return std::nullopt;
    int high = HexDigit(text[i + 1]);
    int low = HexDigit(text[i + 2]);
    if (high < 0 || low < 0 || (high == 0 && low == 0)) return std::nullopt;
    out.push_back(static_cast<char>(high << 4 | low));
    i += 2;
  }
  return out;
}

Result<std::string> Decoded(std::string_view text, const char* part) {
  std::optional<std::string> out = PercentDecode(text);
  if (!out) return Invalid(std::string("bad percent encoding in the ") + part);
  return *std::move(out);
}

Result<HostPort> ParseHostPort(std::string_view text) {
  HostPort server;
  std::string_view port;
  bool has_port = false;
  if (text.starts_with('[')) {
    size_t close = text.find(']');
    if (close == std::string_view::npos) return Invalid("an IPv6 address lacks its ']'");
    server.host = text.substr(1, close - 1);
    std::string_view rest = text.substr(close + 1);
    if (!rest.empty() && rest[0] != ':') return Invalid("only a port may follow '[" + server.host + "]'");
    has_port = !rest.empty();
    port = has_port ? rest.substr(1) : rest;
  } else {
    size_t colon = text.find(':');
    has_port = colon != std::string_view::npos;
    server.host = text.substr(0, colon);
    port = has_port ? text.substr(colon + 1) : std::string_view();
  }
  if (server.host.empty()) return Invalid("a host is empty");
  bool plain = std::ranges::all_of(server.host, [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' || c == '_' || c == ':' || c == '%';
  });
  if (!plain) return Invalid("a host holds a character that no host name has");
  if (has_port) {
    auto [stop, err] = std::from_chars(port.data(), port.data() + port.size(), server.port);
    if (err != std::errc() || stop != port.data() + port.size() || server.port == 0) {
      return Invalid("the port of host '" + server.host + "' is not a number from 1 to 65535");
    }
  }
  return server;
}

Status ParseAuthority(std::string_view authority, Url& url) {
  size_t at = authority.rfind('@');
  if (at != std::string_view::npos) {
    std::string_view who = authority.substr(0, at);
    authority = authority.substr(at + 1);
    size_t colon = who.find(':');
    TRY_ASSIGN(url.user, Decoded(who.substr(0, colon), "user"));
    if (colon != std::string_view::npos) {
      TRY_ASSIGN(url.password, Decoded(who.substr(colon + 1), "password"));
    }
  }
  while (true) {
    size_t comma = authority.find(',');
    TRY_ASSIGN(HostPort server, ParseHostPort(authority.substr(0, comma)));
    url.hosts.push_back(std::move(server));
    if (url.hosts.size() > kHostCountMax) return Invalid("more than 64 hosts");
    if (comma == std::string_view::npos) return Ok();
    authority = authority.substr(comma + 1);
  }
}

Status ParseQuery(std::string_view query, Url& url) {
  while (!query.empty()) {
    size_t amp = query.find('&');
    std::string_view pair = query.substr(0, amp);
    query = amp == std::string_view::npos ? std::string_view() : query.substr(amp + 1);
    size_t equals = pair.find('=');
    TRY_ASSIGN(std::string key, Decoded(pair.substr(0, equals), "query"));
    std::string value;
    if (equals != std::string_view::npos) {
      TRY_ASSIGN(value, Decoded(pair.substr(equals + 1), "query"));
    }
    if (key.empty()) return Invalid("a query parameter has no name");
    if (!url.query.emplace(key, std::move(value)).second) return Invalid("query parameter '" + key + "' stands twice");
  }
  return Ok();
}

Status TakeName(std::string_view name, Url& url) {
  if (!IsDatabaseName(name)) {
    return Invalid("it must end in /NAME, where NAME is 1 to 64 of the characters A-Z a-z 0-9 _ -");
  }
  url.name = name;
  return Ok();
}

Status ParseFilePath(std::string_view rest, Url& url) {
  if (!rest.starts_with('/')) return Invalid("a file url needs three slashes: file:///absolute/dir/NAME");
  TRY_ASSIGN(std::string path, Decoded(rest, "path"));
  size_t slash = path.rfind('/');
  TRY(TakeName(std::string_view(path).substr(slash + 1), url));
  path.resize(slash);
  while (path.ends_with('/')) path.pop_back();
  url.directory = std::move(path);
  return Ok();
}

}  // namespace

std::string ToString(const HostPort& server, uint16_t default_port) {
  bool bracket = server.host.find(':') != std::string::npos;
  uint16_t port = server.port != 0 ? server.port : default_port;
  return (bracket ? "[" + server.host + "]" : server.host) + ":" + std::to_string(port);
}

bool IsDatabaseName(std::string_view text) {
  return !text.empty() && text.size() <= kNameBytesMax && std::ranges::all_of(text, [](char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  });
}

Result<Url> ParseUrl(std::string_view text) {
  if (text.size() > kUrlBytesMax) return Invalid("longer than 4096 characters");
  if (text.find('\0') != std::string_view::npos) return Invalid("holds a zero byte");
  size_t separator = text.find(kSeparator);
  if (separator == std::string_view::npos)
    return Invalid("no scheme; it looks like file:///dir/NAME or nats://host/NAME");
  Url url;
  for (char c : text.substr(0, separator)) {
    url.scheme.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
  }
  std::string_view rest = text.substr(separator + kSeparator.size());
  size_t question = rest.find('?');
  if (question != std::string_view::npos) {
    TRY(ParseQuery(rest.substr(question + 1), url));
    rest = rest.substr(0, question);
  }
  if (url.scheme == "file") {
    TRY(ParseFilePath(rest, url));
    return url;
  }
  if (url.scheme != "nats" && url.scheme != "tls" && url.scheme != "kafka") {
    return Invalid("scheme is none of file, nats, tls, kafka");
  }
  size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return Invalid("no database name; it must end in /NAME");
  TRY(ParseAuthority(rest.substr(0, slash), url));
  TRY(TakeName(rest.substr(slash + 1), url));
  return url;
}

std::string RedactUrl(std::string_view url) {
  size_t separator = url.find(kSeparator);
  if (separator == std::string_view::npos) return "(not a url)";
  std::string_view scheme = url.substr(0, separator);
  std::string_view rest = url.substr(separator + kSeparator.size());
  bool is_file = scheme == "file";
  // The last '@' of all: a password with an unencoded '/', '?' or '@' must not show up because somebody forgot to
  // encode it.
  size_t at = is_file ? std::string_view::npos : rest.rfind('@');
  if (at != std::string_view::npos) rest = rest.substr(at + 1);
  rest = rest.substr(0, rest.find('?'));
  return std::string(scheme) + std::string(kSeparator) + std::string(rest);
}

}  // namespace runnel::bus
