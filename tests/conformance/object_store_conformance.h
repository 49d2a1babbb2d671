// What every object store must do, whatever it is made of. An adapter's test binary compiles this suite in and
// instantiates it with its places.
#pragma once

#include <functional>
#include <memory>
#include <ostream>
#include <string>

#include <gtest/gtest.h>

#include "ltx/base/result.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::store {

// One empty store for one test: the server, if any, lives as long as this.
class StorePlace {
 public:
  virtual ~StorePlace() = default;

  // Another handle on the same store, as another process would have it.
  virtual Result<std::unique_ptr<ObjectStore>> Open(std::stop_token stop = {}) = 0;
  // The same below a prefix.
  virtual Result<std::unique_ptr<ObjectStore>> OpenBelow(const std::string& prefix) = 0;
  // With credentials the store does not accept; nullptr: it has none.
  virtual Result<std::unique_ptr<ObjectStore>> OpenAsStranger() = 0;

  // How many things lie in the store besides whole objects: parts, chunks, temporary files.
  virtual Result<size_t> LeftoverCount() = 0;
};

struct StoreKind {
  std::string name;
  std::function<bool()> available;  // marks the test as skipped if not
  std::function<Result<std::unique_ptr<StorePlace>>()> make;
};
inline std::ostream& operator<<(std::ostream& out, const StoreKind& kind) { return out << kind.name; }

// ASSERT_TRUE for a Result or Status, with its message.
#define ASSERT_OK(expr)                                                       \
  do {                                                                        \
    const auto& assert_ok_result = (expr);                                    \
    ASSERT_TRUE(assert_ok_result.ok()) << assert_ok_result.error().message(); \
  } while (false)

class ObjectStoreConformance : public ::testing::TestWithParam<StoreKind> {
 protected:
  void SetUp() override;

  // `size` bytes that differ by seed and place.
  static std::string Content(size_t size, uint32_t seed = 1);
  // Keys under the prefix, in the order of the listing.
  std::vector<std::string> Listed(const std::string& prefix = "");
  std::string Read(const std::string& key, const ByteRange& range = ByteRange::All());

  std::unique_ptr<StorePlace> place_;
  std::unique_ptr<ObjectStore> store_;
};

}  // namespace runnel::store
