// Signed requests to one bucket: addresses, repeats what may be repeated, and turns the service's refusals into errors.
//
// THREAD: any.
#pragma once

#include <chrono>
#include <functional>
#include <initializer_list>
#include <string>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/base/time.h"
#include "subscriber/archive/store/http_client.h"
#include "subscriber/archive/store/retry.h"
#include "subscriber/archive/store/s3_sign.h"

namespace runnel::store {

struct S3Options {
  std::string bucket;
  std::string endpoint;  // "http://127.0.0.1:9000"; empty: Amazon's of the region
  std::string region = "us-east-1";
  bool path_style = false;  // http://endpoint/bucket/key instead of http://bucket.endpoint/key
  S3Credentials credentials;
  std::string tls_ca_file;
  std::chrono::milliseconds timeout{30000};
  RetryOptions retry;
  size_t part_bytes = 8 << 20;  // of a multipart put; an object has at most 10,000 parts
  const Clock* clock = &SystemClock();
};

struct S3Request {
  std::string method;
  std::string key;  // empty: the bucket itself
  NameValues query = {};
  NameValues headers = {};
  Bytes body = {};
  std::function<Status(const HttpResponse& head, Bytes piece)> sink = {};  // see HttpRequest
};

class S3Client {
 public:
  explicit S3Client(S3Options options);

  const S3Options& options() const { return options_; }
  // "s3://bucket at http://127.0.0.1:9000"
  const std::string& location() const { return location_; }

  // One attempt; any status is a success. Errors: as HttpClient::Send.
  Result<HttpResponse> Once(const S3Request& request);

  // Repeats while that may help. Returns an answer with status 2xx or one of `accepted`; every other is an error
  // (ErrorOf). `retry` tells the caller whether the answer was the first one. Not for requests with a sink.
  Result<HttpResponse> Send(const S3Request& request, std::initializer_list<int> accepted, Retry& retry);
  Result<HttpResponse> Send(const S3Request& request, std::initializer_list<int> accepted = {});

  // What a status outside of 2xx means: kNotFound (no such key), kConflict (412), kInvalid (credentials, bucket,
  // region), kUnavailable (try again), kExhausted (quota). A sentence with bucket, key, status and code.
  Error ErrorOf(const S3Request& request, const HttpResponse& response) const;
  // A transport error with the same context.
  Error ErrorOf(const S3Request& request, const Error& error) const;
  // Whether the same request may succeed a little later.
  static bool IsTransient(const HttpResponse& response);

 private:
  Error WrongPlace(const std::string& where, const HttpResponse& response) const;

  const S3Options options_;
  std::string scheme_;
  std::string host_;         // with the port, as in the Host header
  std::string path_prefix_;  // "/bucket" or ""
  std::string location_;
  HttpClient http_;
};

}  // namespace runnel::store
