#include <filesystem>

#include "subscriber/archive/store/open.h"
#include "tests/conformance/object_store_conformance.h"
#include "tests/support/temp_dir.h"

namespace runnel::store {
namespace {

class DirPlace : public StorePlace {
 public:
  Result<std::unique_ptr<ObjectStore>> Open(std::stop_token stop) override {
    StoreOptions options;
    options.stop = std::move(stop);
    return OpenStore("file://" + (dir_ / "archive").string(), options);
  }
  Result<std::unique_ptr<ObjectStore>> OpenBelow(const std::string& prefix) override {
    TRY_ASSIGN(std::unique_ptr<ObjectStore> store, Open({}));
    return WithPrefix(std::move(store), prefix);
  }
  Result<std::unique_ptr<ObjectStore>> OpenAsStranger() override { return std::unique_ptr<ObjectStore>(); }
  Result<size_t> LeftoverCount() override {
    size_t count = 0;
    for (const auto& entry : std::filesystem::directory_iterator(dir_ / "archive/.runnel-tmp")) {
      if (entry.path().filename() != "lock") ++count;
    }
    return count;
  }

 private:
  testing::TempDir dir_;
};

INSTANTIATE_TEST_SUITE_P(Dir, ObjectStoreConformance,
                         ::testing::Values(StoreKind{"dir", [] { return true; },
                                                     []() -> Result<std::unique_ptr<StorePlace>> {
                                                       return std::unique_ptr<StorePlace>(std::make_unique<DirPlace>());
                                                     }}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace runnel::store
