#include "subscriber/archive/store/s3_sign.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <map>

#include <fmt/format.h>

#include "ltx/base/check.h"

namespace runnel::store {
namespace {

constexpr const char* kAlgorithm = "AWS4-HMAC-SHA256";

bool IsUnreserved(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
         c == '_' || c == '~';
}

std::string Lower(std::string text) {
  for (char& c : text) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return text;
}

// Without blanks at the ends, runs of blanks inside become one.
std::string TrimValue(std::string_view value) {
  std::string out;
  for (const char c : value) {
    const bool blank = c == ' ' || c == '\t' || c == '\n' || c == '\r';
    if (!blank) {
      out += c;
    } else if (!out.empty() && out.back() != ' ') {
      out += ' ';
    }
  }
  if (out.ends_with(' ')) out.pop_back();
  return out;
}

// Values of one name are joined by commas in their order.
std::map<std::string, std::string> CanonicalHeaders(const NameValues& headers) {
  std::map<std::string, std::string> canonical;
  for (const auto& [name, value] : headers) {
    const auto [at, is_new] = canonical.try_emplace(Lower(name), TrimValue(value));
    if (!is_new) at->second += "," + TrimValue(value);
  }
  return canonical;
}

std::string SignedNames(const std::map<std::string, std::string>& headers) {
  std::string names;
  for (const auto& [name, value] : headers) names += (names.empty() ? "" : ";") + name;
  return names;
}

std::string ScopeText(const SigningScope& scope) {
  return fmt::format("{}/{}/{}/aws4_request", scope.date_time.substr(0, 8), scope.region, scope.service);
}

std::string Hmac(std::string_view key, std::string_view text) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> out = {};
  unsigned size = 0;
  const unsigned char* done = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                                   reinterpret_cast<const unsigned char*>(text.data()), text.size(), out.data(), &size);
  CHECK(done != nullptr, "HMAC-SHA256 failed");
  return std::string(reinterpret_cast<const char*>(out.data()), size);
}

}  // namespace

std::string UriEncode(std::string_view text, bool keep_slash) {
  constexpr char kDigits[] = "0123456789ABCDEF";
  std::string out;
  for (const char c : text) {
    if (IsUnreserved(c) || (keep_slash && c == '/')) {
      out += c;
      continue;
    }
    const unsigned char byte = static_cast<unsigned char>(c);
    out += '%';
    out += kDigits[byte >> 4];
    out += kDigits[byte & 15];
  }
  return out;
}

std::string CanonicalQuery(const NameValues& query) {
  std::vector<std::pair<std::string, std::string>> encoded;
  for (const auto& [name, value] : query) encoded.emplace_back(UriEncode(name, false), UriEncode(value, false));
  std::ranges::sort(encoded);
  std::string text;
  for (const auto& [name, value] : encoded) text += fmt::format("{}{}={}", text.empty() ? "" : "&", name, value);
  return text;
}

std::string CanonicalRequest(const SignableRequest& request) {
  const std::map<std::string, std::string> headers = CanonicalHeaders(request.headers);
  std::string text =
      fmt::format("{}\n{}\n{}\n", request.method, UriEncode(request.path, true), CanonicalQuery(request.query));
  for (const auto& [name, value] : headers) text += fmt::format("{}:{}\n", name, value);
  return text + fmt::format("\n{}\n{}", SignedNames(headers), request.payload_sha256);
}

std::string StringToSign(const SignableRequest& request, const SigningScope& scope) {
  return fmt::format("{}\n{}\n{}\n{}", kAlgorithm, scope.date_time, ScopeText(scope),
                     Sha256Hex(AsBytes(CanonicalRequest(request))));
}

std::string Authorization(const SignableRequest& request, const SigningScope& scope, const S3Credentials& credentials) {
  std::string key = Hmac("AWS4" + credentials.secret_access_key, scope.date_time.substr(0, 8));
  key = Hmac(key, scope.region);
  key = Hmac(key, scope.service);
  key = Hmac(key, "aws4_request");
  const std::string signature = Hmac(key, StringToSign(request, scope));
  return fmt::format("{} Credential={}/{}, SignedHeaders={}, Signature={}", kAlgorithm, credentials.access_key_id,
                     ScopeText(scope), SignedNames(CanonicalHeaders(request.headers)), ToHex(AsBytes(signature)));
}

std::string FormatAmzDate(WallTime time) {
  std::string text;
  for (const char c : FormatRfc3339(time).substr(0, 19)) {  // 2013-05-24T00:00:00
    if (c != '-' && c != ':') text += c;
  }
  return text + "Z";
}

std::string Sha256Hex(Bytes bytes) {
  std::array<std::byte, 32> digest = {};
  unsigned size = 0;
  const int done = EVP_Digest(bytes.data(), bytes.size(), reinterpret_cast<unsigned char*>(digest.data()), &size,
                              EVP_sha256(), nullptr);
  CHECK(done == 1 && size == digest.size(), "SHA-256 failed");
  return ToHex(digest);
}

}  // namespace runnel::store
