#include "subscriber/archive/store/url.h"

#include <algorithm>
#include <optional>

#include <fmt/format.h>

#include "subscriber/archive/store/object_store.h"

namespace runnel::store {
namespace {

constexpr std::string_view kSeparator = "://";
constexpr size_t kUrlBytesMax = 4096;
constexpr const char* kForms = "use file:///dir, s3://bucket/prefix or nats://host/BUCKET";

Error Invalid(std::string_view what) { return Error(Errc::kInvalid, fmt::format("object store url: {}", what)); }

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

Result<std::string> Decoded(std::string_view text, const char* part) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      out += text[i];
      continue;
    }
    const int high = i + 2 < text.size() ? HexDigit(text[i + 1]) : -1;
    const int low = high >= 0 ? HexDigit(text[i + 2]) : -1;
    if (low < 0 || (high == 0 && low == 0)) return Invalid(fmt::format("bad percent encoding in the {}", part));
    out += static_cast<char>(high << 4 | low);
    i += 2;
  }
  return out;
}

Status ParseQuery(std::string_view query, Url& url) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    const size_t equals = std::min(pair.find('='), pair.size());
    TRY_ASSIGN(const std::string key, Decoded(pair.substr(0, equals), "query"));
    TRY_ASSIGN(std::string value, Decoded(pair.substr(std::min(equals + 1, pair.size())), "query"));
    if (key != "endpoint" && key != "region" && key != "path-style") {
      return Invalid(
          "only endpoint, region and path-style may stand behind the '?' (credentials come from configuration, "
          "environment or a file)");
    }
    if (!url.query.emplace(key, std::move(value)).second)
      return Invalid(fmt::format("query parameter {} stands twice", key));
  }
  return Ok();
}

// "/a/b/" -> "a/b"
Status TakePrefix(std::string_view text, Url& url) {
  while (text.starts_with('/')) text.remove_prefix(1);
  while (text.ends_with('/')) text.remove_suffix(1);
  if (text.empty()) return Ok();
  TRY_ASSIGN(url.prefix, Decoded(text, "prefix"));
  // "." is the prefix that Litestream gives to s3://bucket without a path.
  if (url.scheme == "s3" && url.prefix == ".") return Ok();
  const Status key = CheckKey(url.prefix);
  if (!key.ok()) return key.error().With("object store url: prefix");
  return Ok();
}

Status ParseFile(std::string_view rest, Url& url) {
  if (!rest.starts_with('/')) return Invalid("a file url needs three slashes: file:///absolute/dir");
  TRY_ASSIGN(url.directory, Decoded(rest, "directory"));
  while (url.directory.ends_with('/')) url.directory.pop_back();
  if (url.directory.empty()) return Invalid("the root directory cannot be an object store");
  return Ok();
}

bool IsBucketName(std::string_view name) {
  return name.size() >= 3 && name.size() <= 63 && std::ranges::all_of(name, [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                  c == '_';
         });
}

Status ParseS3(std::string_view rest, Url& url) {
  const size_t slash = std::min(rest.find('/'), rest.size());
  const std::string_view bucket = rest.substr(0, slash);
  if (bucket.find('@') != std::string_view::npos) return Invalid("credentials do not belong into an s3 url");
  if (!IsBucketName(bucket)) return Invalid("a bucket is 3 to 63 of letters, digits, '.', '-' and '_'");
  url.bucket = bucket;
  return TakePrefix(rest.substr(slash), url);
}

// The authority is the bus's: the same hosts, ports and credentials.
Status ParseNats(std::string_view rest, Url& url) {
  const size_t slash = rest.find('/');
  if (slash == std::string_view::npos) return Invalid("a nats url ends in /BUCKET or /BUCKET/prefix");
  const std::string_view path = rest.substr(slash + 1);
  const size_t end = std::min(path.find('/'), path.size());
  if (!bus::IsDatabaseName(path.substr(0, end)))
    return Invalid("a nats bucket is 1 to 64 of letters, digits, '_' and '-'");
  const Result<bus::Url> server = bus::ParseUrl(fmt::format("{}://{}", url.scheme, rest.substr(0, slash + 1 + end)));
  if (!server.ok()) return server.error();
  url.hosts = server->hosts;
  url.user = server->user;
  url.password = server->password;
  url.bucket = server->name;
  return TakePrefix(path.substr(end), url);
}

// A value that may be shown, from a query; empty if it is not there.
std::string_view QueryValue(std::string_view query, std::string_view key) {
  while (!query.empty()) {
    const std::string_view pair = query.substr(0, query.find('&'));
    query.remove_prefix(std::min(pair.size() + 1, query.size()));
    if (pair.size() > key.size() && pair.starts_with(key) && pair[key.size()] == '=')
      return pair.substr(key.size() + 1);
  }
  return {};
}

}  // namespace

Result<Url> ParseUrl(std::string_view text) {
  if (text.size() > kUrlBytesMax) return Invalid("longer than 4096 characters");
  if (text.find('\0') != std::string_view::npos) return Invalid("holds a zero byte");
  const size_t separator = text.find(kSeparator);
  if (separator == std::string_view::npos) return Invalid(fmt::format("no scheme; {}", kForms));
  Url url;
  for (const char c : text.substr(0, separator))
    url.scheme += static_cast<char>(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
  std::string_view rest = text.substr(separator + kSeparator.size());
  // A '?' is no special character in a directory's name, but then it is written %3F, as everywhere.
  const size_t question = rest.find('?');
  if (question != std::string_view::npos) {
    if (url.scheme != "s3") return Invalid("only s3 urls take parameters behind a '?'");
    TRY(ParseQuery(rest.substr(question + 1), url));
    rest = rest.substr(0, question);
  }
  if (url.scheme == "file") {
    TRY(ParseFile(rest, url));
  } else if (url.scheme == "s3") {
    TRY(ParseS3(rest, url));
  } else if (url.scheme == "nats" || url.scheme == "tls") {
    TRY(ParseNats(rest, url));
  } else if (url.scheme == "gs" || url.scheme == "abs" || url.scheme == "sftp" || url.scheme == "webdav" ||
             url.scheme == "oss") {
    return Error(Errc::kUnsupported, fmt::format("object store url: {}:// is not supported; {}", url.scheme, kForms));
  } else {
    return Invalid(fmt::format("unknown scheme; {}", kForms));
  }
  return url;
}

std::string RedactUrl(std::string_view url) {
  std::string text = bus::RedactUrl(url);
  if (!url.starts_with("s3://")) return text;
  const size_t question = url.find('?');
  if (question == std::string_view::npos) return text;
  char separator = '?';
  for (const std::string_view key : {"endpoint", "region", "path-style"}) {
    const std::string_view value = QueryValue(url.substr(question + 1), key);
    if (value.empty() || value.find('@') != std::string_view::npos || value.find("%40") != std::string_view::npos)
      continue;
    text += fmt::format("{}{}={}", separator, key, value);
    separator = '&';
  }
  return text;
}

}  // namespace runnel::store
