#include "tests/support/golden.h"

#include <cstdlib>
#include <string>

#include <gtest/gtest.h>

#include "ltx/base/fs.h"

namespace runnel::testing {

void ExpectGolden(std::string_view name, std::string_view actual) {
  const std::string path = std::string(RUNNEL_SOURCE_DIR) + "/tests/golden/" + std::string(name);
  const char* update = std::getenv("RUNNEL_GOLDEN_UPDATE");
  if (update != nullptr && std::string_view(update) == "1") {
    Status written = CreateDirs(DirName(path));
    if (written.ok()) written = WriteFileAtomically(path, AsBytes(actual));
    EXPECT_TRUE(written.ok()) << written.error().message();
    return;
  }
  Result<std::string> expected = ReadFile(path, 1 << 20);
  ASSERT_TRUE(expected.ok()) << expected.error().message() << " (tools/dev golden writes it)";
  EXPECT_EQ(actual, *expected) << "differs from " << path;
}

}  // namespace runnel::testing
