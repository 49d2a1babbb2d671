// The bytes of a worked example in a format's document: the first word of each line of its one block marked "hex".
#pragma once

#include <gtest/gtest.h>

#include <fstream>
#include <string>

#include "ltx/base/bytes.h"

namespace runnel::bus {

inline std::string DocumentBytes(const std::string& path) {
  std::ifstream file(std::string(RUNNEL_SOURCE_DIR) + "/" + path);
  EXPECT_TRUE(file.is_open()) << path;
  std::string hex;
  bool inside = false;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with("```")) {
      inside = line == "```hex";
    } else if (inside) {
      hex += line.substr(0, line.find(' '));
    }
  }
  EXPECT_FALSE(hex.empty()) << path << " has no example";
  return FromHex(hex);
}

}  // namespace runnel::bus
