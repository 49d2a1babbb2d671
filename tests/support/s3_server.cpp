#include "tests/support/s3_server.h"

#include <signal.h>

#include <fmt/format.h>

#include "ltx/base/check.h"
#include "ltx/base/time.h"
#include "subscriber/archive/store/s3_client.h"
#include "tests/support/free_port.h"
#include "tests/support/peers.h"

namespace runnel::testing {
namespace {

constexpr std::chrono::seconds kReadyMax(30);
constexpr std::chrono::milliseconds kReadyPoll(20);

}  // namespace

const char* ToString(S3Kind kind) { return kind == S3Kind::kVersitygw ? "versitygw" : "minio"; }

std::optional<std::filesystem::path> FindS3Server(S3Kind kind) {
  return kind == S3Kind::kVersitygw ? FindPeer("versitygw-1.8.0", "versitygw") : FindPeer("minio-20260212", "minio");
}

S3Server::S3Server(S3Kind kind) : kind_(kind), port_(FreePort()), console_port_(FreePort()) {}

Result<std::unique_ptr<S3Server>> S3Server::Start(S3Kind kind) {
  std::unique_ptr<S3Server> server(new S3Server(kind));
  TRY(server->Launch());
  return server;
}

std::string S3Server::endpoint() const { return fmt::format("http://127.0.0.1:{}", port_); }

std::string S3Server::Url(const std::string& bucket, uint16_t port) const {
  return fmt::format("s3://{}?endpoint=http://127.0.0.1:{}", bucket, port);
}

Status S3Server::Launch() {
  const std::optional<std::filesystem::path> program = FindS3Server(kind_);
  if (!program.has_value())
    return Error(Errc::kNotFound, fmt::format("no {}: run tools/peers/get.sh {}", ToString(kind_), ToString(kind_)));
  const std::string data = directory_ / "data";
  std::filesystem::create_directories(data);
  ChildProcess::Options child;
  const std::string address = fmt::format("127.0.0.1:{}", port_);
  child.output = directory_ / "log";
  child.directory = directory_.path();
  if (kind_ == S3Kind::kVersitygw) {
    child.argv = {program->string(), "--port", address, "posix", data};
    child.environment = {fmt::format("ROOT_ACCESS_KEY={}", kAccessKeyId),
                         fmt::format("ROOT_SECRET_KEY={}", kSecretAccessKey)};
  } else {
    child.argv = {program->string(),
                  "server",
                  "--quiet",
                  "--address",
                  address,
                  "--console-address",
                  fmt::format("127.0.0.1:{}", console_port_),
                  data};
    child.environment = {fmt::format("MINIO_ROOT_USER={}", kAccessKeyId),
                         fmt::format("MINIO_ROOT_PASSWORD={}", kSecretAccessKey), "MINIO_BROWSER=off",
                         "MINIO_UPDATE=off"};
  }
  TRY_ASSIGN(process_, ChildProcess::Start(std::move(child)));
  store::HttpClient client({.timeout = std::chrono::seconds(1), .no_proxy = true});
  const SteadyTime deadline = DeadlineIn(kReadyMax);
  while (true) {
    // Unsigned: refused by a server that is ready, by status 503 or not at all by one that is not.
    const Result<store::HttpResponse> response = client.Send({.method = "GET", .url = endpoint() + "/"});
    if (response.ok() && response->status == 403) return Ok();
    const bool ended = process_->Wait(kReadyPoll).has_value();
    if (!ended && std::chrono::steady_clock::now() < deadline) continue;
    return Error(Errc::kTimeout, fmt::format("{} does not answer: {}", ToString(kind_), process_->Output()));
  }
}

Status S3Server::MakeBucket(const std::string& bucket) {
  store::S3Options options;
  options.bucket = bucket;
  options.endpoint = endpoint();
  options.path_style = true;
  options.credentials = {kAccessKeyId, kSecretAccessKey, ""};
  TRY(store::S3Client(options).Send({.method = "PUT", .key = ""}));
  return Ok();
}

void S3Server::Kill9() {
  process_->Kill(SIGKILL);
  CHECK(process_->Wait(kReadyMax).has_value(), "the s3 server does not die");
}

Status S3Server::Restart() {
  CHECK(!process_->running(), "restart of a running server");
  return Launch();
}

}  // namespace runnel::testing
