#include "tests/unit/ltx/golden.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace runnel::testing {
namespace {

const std::filesystem::path& Folder() {
  static const std::filesystem::path folder = RUNNEL_GOLDEN_LTX;
  return folder;
}

}  // namespace

std::string GoldenLtx(std::string_view name) {
  std::ifstream file(Folder() / name, std::ios::binary);
  EXPECT_TRUE(file.is_open()) << name;
  return std::string(std::istreambuf_iterator<char>(file), {});
}

std::vector<std::string> GoldenLtxNames() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(Folder())) {
    if (entry.path().extension() == ".ltx") names.push_back(std::filesystem::relative(entry.path(), Folder()).string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace runnel::testing
