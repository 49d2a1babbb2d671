// A real S3 server with an empty store of its own: versitygw or MinIO, from tools/peers/get.sh.
//
// Port and store stay the same over Stop, Kill9 and Restart. THREAD: one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "ltx/base/result.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace runnel::testing {

enum class S3Kind { kVersitygw, kMinio };

// Where get.sh put it; nullopt: not there.
std::optional<std::filesystem::path> FindS3Server(S3Kind kind);
const char* ToString(S3Kind kind);

class S3Server {
 public:
  static constexpr const char* kAccessKeyId = "testkey";
  static constexpr const char* kSecretAccessKey = "testsecret";

  // Errors: kNotFound (no such program), kTimeout (does not answer; with the server's last words).
  static Result<std::unique_ptr<S3Server>> Start(S3Kind kind);

  uint16_t port() const { return port_; }
  std::string endpoint() const;
  // "s3://bucket?endpoint=http://127.0.0.1:port"; another port to go through a proxy.
  std::string Url(const std::string& bucket, uint16_t port) const;
  std::string Url(const std::string& bucket) const { return Url(bucket, port_); }
  Status MakeBucket(const std::string& bucket);

  void Kill9();
  Status Restart();  // REQUIRES: killed

 private:
  explicit S3Server(S3Kind kind);
  Status Launch();

  const S3Kind kind_;
  const uint16_t port_;
  const uint16_t console_port_;
  TempDir directory_;
  std::unique_ptr<ChildProcess> process_;
};

}  // namespace runnel::testing
