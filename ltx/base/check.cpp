#include "ltx/base/check.h"

#include <cstdio>
#include <cstdlib>

namespace runnel {

void CheckFailed(const char* condition, std::string_view detail, const char* file, int line) {
  std::fprintf(stderr, "check failed: %s (%.*s) at %s:%d\n", condition, static_cast<int>(detail.size()), detail.data(),
               file, line);
  std::abort();
}

}  // namespace runnel
