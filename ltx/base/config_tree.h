// The parsed form of a configuration file: plain values with their places. Of config_reader.cpp and config_tree.cpp
// only.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ltx/base/config_reader.h"
#include "ltx/base/result.h"

namespace runnel::config_detail {

struct Value {
  enum class Kind { kNull, kScalar, kList, kMap };
  Kind kind = Kind::kNull;
  int line = 0;           // from 1; 0 = unknown
  std::string path = {};  // "dbs[0].path"
  std::string scalar = {};
  bool expanded = false;                                    // part of the scalar came from the environment
  std::vector<std::pair<std::string, Value>> members = {};  // of a map, in the file's order
  std::vector<Value> items = {};                            // of a list
  std::set<std::string, std::less<>> asked = {};            // keys somebody looked for: the known ones
};

struct Problem {
  int line;
  std::string text;
};

struct State {
  std::string name;  // of the file, for messages
  std::string file;  // to ask for its mode; empty if there is none
  Value root;
  Value nothing;  // what an absent section is read from
  bool has_secrets = false;
  std::vector<Problem> problems;
};

// Parses one YAML document whose root is a mapping, and expands the environment. Errors: kInvalid.
Result<Value> ParseYaml(std::string_view text, const std::string& name, const Config::Environment& environment);

// "runnel.yml:12: " or "runnel.yml: ".
std::string Place(const std::string& name, int line);

}  // namespace runnel::config_detail
