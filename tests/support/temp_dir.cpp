#include "tests/support/temp_dir.h"

#include <stdlib.h>

#include <cstdio>
#include <string>
#include <system_error>

#include "ltx/base/check.h"

namespace runnel::testing {

TempDir::TempDir() {
  const char* root = getenv("TMPDIR");
  std::string name = std::string(root != nullptr && *root != '\0' ? root : "/tmp") + "/runnel-test-XXXXXX";
  CHECK(mkdtemp(name.data()) != nullptr, name);
  path_ = name;
}

TempDir::~TempDir() {
  if (getenv("RUNNEL_KEEP_TMP") != nullptr) {
    fprintf(stderr, "kept %s\n", path_.c_str());
    return;
  }
  std::error_code ignored;  // a test that made its directory unreadable leaves it behind; nothing to do about it
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace runnel::testing
