// AWS Signature Version 4 for the Authorization header, as S3 wants it (paths are encoded once and not normalised).
// libcurl's own is not used: 7.88 signs unsorted and valueless queries and some characters of paths wrongly (measured).
//
// Checked against the examples of the S3 manual and AWS's aws4_testsuite in tests/unit/store/s3_sign_test.cpp.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/time.h"

namespace runnel::store {

// Secrets: never logged.
struct S3Credentials {
  std::string access_key_id;
  std::string secret_access_key;
  std::string session_token;  // empty: none
};

using NameValues = std::vector<std::pair<std::string, std::string>>;

// What is signed. All headers given are; Host and X-Amz-Date must be among them.
struct SignableRequest {
  std::string method;
  std::string path = "/";      // not encoded
  NameValues query;            // not encoded, any order
  NameValues headers;          // any order and case
  std::string payload_sha256;  // hexadecimal
};

struct SigningScope {
  std::string region;
  std::string service = "s3";
  std::string date_time;  // 20130524T000000Z, as in X-Amz-Date
};

// RFC 3986: everything but A-Z a-z 0-9 - . _ ~ becomes %XX; '/' stays where `keep_slash`.
std::string UriEncode(std::string_view text, bool keep_slash);
// "a=1&b=", sorted and encoded; what goes behind the '?' of the URL, too.
std::string CanonicalQuery(const NameValues& query);
std::string CanonicalRequest(const SignableRequest& request);
std::string StringToSign(const SignableRequest& request, const SigningScope& scope);
// The value of the Authorization header.
std::string Authorization(const SignableRequest& request, const SigningScope& scope, const S3Credentials& credentials);

std::string FormatAmzDate(WallTime time);  // 20130524T000000Z
std::string Sha256Hex(Bytes bytes);

}  // namespace runnel::store
