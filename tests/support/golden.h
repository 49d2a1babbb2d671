// Expected texts that live in files: tests/golden/<name>. `tools/dev golden` (RUNNEL_GOLDEN_UPDATE=1) rewrites them
// with what the tests see, and a person reads the difference. Tests that use it have Golden in their name.
#pragma once

#include <string_view>

namespace runnel::testing {

// Fails the running test when the file is not there or differs.
void ExpectGolden(std::string_view name, std::string_view actual);

}  // namespace runnel::testing
