// The golden files of this room (tests/golden/ltx/README.md says who wrote which).
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace runnel::testing {

std::string GoldenLtx(std::string_view name);  // its bytes; the test fails if it is not there
// Every *.ltx below tests/golden/ltx, as names for GoldenLtx.
std::vector<std::string> GoldenLtxNames();

}  // namespace runnel::testing
