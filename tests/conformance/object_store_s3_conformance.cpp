#include "subscriber/archive/store/open.h"
#include "subscriber/archive/store/s3_client.h"
#include "tests/conformance/object_store_conformance.h"
#include "tests/support/peers.h"
#include "tests/support/s3_server.h"

namespace runnel::store {
namespace {

using testing::S3Kind;
using testing::S3Server;

constexpr const char* kBucket = "archive";

class S3Place : public StorePlace {
 public:
  explicit S3Place(std::unique_ptr<S3Server> server) : server_(std::move(server)) {}

  Result<std::unique_ptr<ObjectStore>> Open(std::stop_token stop) override {
    StoreOptions options = Options();
    options.stop = std::move(stop);
    return OpenStore(server_->Url(kBucket), options);
  }
  Result<std::unique_ptr<ObjectStore>> OpenBelow(const std::string& prefix) override {
    return OpenStore(server_->Url(std::string(kBucket) + "/" + prefix), Options());
  }
  Result<std::unique_ptr<ObjectStore>> OpenAsStranger() override {
    StoreOptions options = Options();
    options.credentials.secret_access_key = "wrong-secret";
    return OpenStore(server_->Url(kBucket), options);
  }
  Result<size_t> LeftoverCount() override {
    S3Options options;
    options.bucket = kBucket;
    options.endpoint = server_->endpoint();
    options.path_style = true;
    options.credentials = {S3Server::kAccessKeyId, S3Server::kSecretAccessKey, ""};
    TRY_ASSIGN(const HttpResponse response,
               S3Client(options).Send({.method = "GET", .key = "", .query = {{"uploads", ""}}}));
    size_t count = 0;
    for (size_t at = 0; (at = response.body.find("<UploadId>", at)) != std::string::npos; ++at) ++count;
    return count;
  }

 private:
  static StoreOptions Options() {
    StoreOptions options;
    options.credentials.access_key_id = S3Server::kAccessKeyId;
    options.credentials.secret_access_key = S3Server::kSecretAccessKey;
    return options;
  }

  const std::unique_ptr<S3Server> server_;
};

StoreKind Kind(S3Kind kind) {
  return {testing::ToString(kind),
          [kind] {
            return testing::RequirePeer(FindS3Server(kind),
                                        std::string("tools/peers/get.sh ") + testing::ToString(kind));
          },
          [kind]() -> Result<std::unique_ptr<StorePlace>> {
            TRY_ASSIGN(std::unique_ptr<S3Server> server, S3Server::Start(kind));
            TRY(server->MakeBucket(kBucket));
            return std::unique_ptr<StorePlace>(std::make_unique<S3Place>(std::move(server)));
          }};
}

INSTANTIATE_TEST_SUITE_P(S3, ObjectStoreConformance, ::testing::Values(Kind(S3Kind::kVersitygw), Kind(S3Kind::kMinio)),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace runnel::store
