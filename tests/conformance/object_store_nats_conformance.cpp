#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "subscriber/archive/store/open.h"
#include "tests/conformance/object_store_conformance.h"
#include "tests/support/nats_admin.h"
#include "tests/support/nats_server.h"
#include "tests/support/peers.h"

namespace runnel::store {
namespace {

using testing::NatsAdmin;
using testing::NatsServer;

constexpr const char* kBucket = "ARCHIVE";

class NatsPlace : public StorePlace {
 public:
  explicit NatsPlace(std::unique_ptr<NatsServer> server) : server_(std::move(server)), admin_(server_->port()) {}

  Result<std::unique_ptr<ObjectStore>> Open(std::stop_token stop) override {
    return OpenWith("admin:pw", kBucket, stop);
  }
  Result<std::unique_ptr<ObjectStore>> OpenBelow(const std::string& prefix) override {
    return OpenWith("admin:pw", fmt::format("{}/{}", kBucket, prefix), {});
  }
  Result<std::unique_ptr<ObjectStore>> OpenAsStranger() override { return OpenWith("admin:wrong-secret", kBucket, {}); }

  // Messages that are neither the description of an object nor one of its chunks.
  Result<size_t> LeftoverCount() override {
    TRY_ASSIGN(const std::string text,
               admin_.Api(fmt::format("STREAM.INFO.OBJ_{}", kBucket), R"({"subjects_filter":">"})"));
    const nlohmann::json subjects = nlohmann::json::parse(text)["state"]["subjects"];
    size_t count = 0;
    size_t objects = 0;
    for (const auto& [subject, messages] : subjects.items()) {
      (subject.find(".M.") != std::string::npos ? objects : count) += messages.get<size_t>();
    }
    TRY_ASSIGN(std::unique_ptr<ObjectStore> store, Open({}));
    size_t listed = 0;
    TRY(store->ListAll("", [&](const ObjectInfo& object) {
      ++listed;
      count -= (object.size + (128 << 10) - 1) / (128 << 10);
      return Ok();
    }));
    return count + objects - listed;
  }

 private:
  Result<std::unique_ptr<ObjectStore>> OpenWith(const std::string& who, const std::string& path, std::stop_token stop) {
    StoreOptions options;
    options.stop = std::move(stop);
    return OpenStore(fmt::format("nats://{}@{}/{}", who, server_->hosts(), path), options);
  }

  const std::unique_ptr<NatsServer> server_;
  NatsAdmin admin_;
};

StoreKind Kind(const char* name, std::optional<std::filesystem::path> program) {
  return {name, [program, name] { return testing::RequirePeer(program, name); },
          [program]() -> Result<std::unique_ptr<StorePlace>> {
            NatsServer::Options options;
            options.binary = *program;
            options.extra_config =
                "authorization { users: [ {user: admin, password: pw}, {user: anybody, password: pw} ] "
                "}\nno_auth_user: anybody";
            TRY_ASSIGN(std::unique_ptr<NatsServer> server, NatsServer::Start(std::move(options)));
            return std::unique_ptr<StorePlace>(std::make_unique<NatsPlace>(std::move(server)));
          }};
}

INSTANTIATE_TEST_SUITE_P(Nats, ObjectStoreConformance,
                         ::testing::Values(Kind("debian", testing::DebianNatsServer()),
                                           Kind("newer", testing::NewerNatsServer())),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace runnel::store
