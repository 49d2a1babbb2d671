#include "ltx/base/config_tree.h"

#include <cstddef>

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

namespace runnel::config_detail {
namespace {

// Aliases may multiply a small file into a huge tree; nesting may exhaust the stack. No real configuration comes near.
constexpr size_t kValuesMax = 100000;
constexpr int kDepthMax = 16;

class TreeBuilder {
 public:
  TreeBuilder(const std::string& name, const Config::Environment& environment)
      : name_(name), environment_(environment) {}

  // NOLINTNEXTLINE(misc-no-recursion): bounded by kDepthMax.
  Result<Value> Build(const YAML::Node& node, std::string path, int depth) {
    Value value;
    value.line = node.Mark().line + 1;
    value.path = std::move(path);
    if (++values_ > kValuesMax) return Refuse(value.line, "more than 100000 values");
    if (depth > kDepthMax) return Refuse(value.line, "nested too deeply");
    switch (node.Type()) {
      case YAML::NodeType::Undefined:
      case YAML::NodeType::Null: break;
      case YAML::NodeType::Scalar: TRY(BuildScalar(node, value)); break;
      case YAML::NodeType::Sequence: TRY(BuildList(node, value, depth)); break;
      case YAML::NodeType::Map: TRY(BuildMap(node, value, depth)); break;
    }
    return value;
  }

 private:
  Error Refuse(int line, std::string_view what) const {
    return Error(Errc::kInvalid, Place(name_, line) + std::string(what));
  }

  Status BuildScalar(const YAML::Node& node, Value& value) {
    value.kind = Value::Kind::kScalar;
    std::string_view rest = node.Scalar();
    for (;;) {
      size_t dollar = rest.find("${");
      if (dollar == std::string_view::npos) break;
      if (dollar > 0 && rest[dollar - 1] == '$') {  // $${ is a literal ${
        value.scalar += rest.substr(0, dollar - 1);
        value.scalar += "${";
        rest.remove_prefix(dollar + 2);
        continue;
      }
      size_t end = rest.find('}', dollar);
      if (end == std::string_view::npos)
        return Refuse(value.line, fmt::format("{}: \"${{\" without \"}}\"", value.path));
      std::string variable(rest.substr(dollar + 2, end - dollar - 2));
      std::optional<std::string> text = environment_(variable);
      if (!text) {
        return Refuse(value.line, fmt::format("{}: environment variable {} is not set", value.path, variable));
      }
      value.scalar += rest.substr(0, dollar);
      value.scalar += *text;
      value.expanded = true;
      rest.remove_prefix(end + 1);
    }
    value.scalar += rest;
    return Ok();
  }

  // NOLINTNEXTLINE(misc-no-recursion)
  Status BuildList(const YAML::Node& node, Value& value, int depth) {
    value.kind = Value::Kind::kList;
    for (size_t i = 0; i < node.size(); ++i) {
      TRY_ASSIGN(Value item, Build(node[i], fmt::format("{}[{}]", value.path, i), depth + 1));
      value.items.push_back(std::move(item));
    }
    return Ok();
  }

  // NOLINTNEXTLINE(misc-no-recursion)
  Status BuildMap(const YAML::Node& node, Value& value, int depth) {
    value.kind = Value::Kind::kMap;
    for (YAML::const_iterator it = node.begin(); it != node.end(); ++it) {
      int line = it->first.Mark().line + 1;
      if (!it->first.IsScalar()) return Refuse(line, "a key that is not a word");
      std::string key = it->first.Scalar();
      for (const std::pair<std::string, Value>& member : value.members) {
        if (member.first == key) {
          return Refuse(line, fmt::format("key \"{}\" is there twice, first in line {}", key, member.second.line));
        }
      }
      TRY_ASSIGN(Value child, Build(it->second, value.path.empty() ? key : value.path + "." + key, depth + 1));
      child.line = line;  // people look for the key, not for the value
      value.members.emplace_back(std::move(key), std::move(child));
    }
    return Ok();
  }

  const std::string& name_;
  const Config::Environment& environment_;
  size_t values_ = 0;
};

}  // namespace

Result<Value> ParseYaml(std::string_view text, const std::string& name, const Config::Environment& environment) {
  try {
    std::vector<YAML::Node> documents = YAML::LoadAll(std::string(text));
    if (documents.size() > 1) return Error(Errc::kInvalid, name + ": more than one YAML document");
    if (documents.empty() || documents[0].IsNull()) return Value{.kind = Value::Kind::kMap};
    if (!documents[0].IsMap()) return Error(Errc::kInvalid, Place(name, 1) + "expected \"key: value\" lines");
    return TreeBuilder(name, environment).Build(documents[0], "", 0);
  } catch (const YAML::Exception& error) {
    return Error(Errc::kInvalid, Place(name, error.mark.line + 1) + error.msg);
  } catch (const std::exception& error) {
    return Error(Errc::kInvalid, fmt::format("{}: {}", name, error.what()));
  }
}

std::string Place(const std::string& name, int line) {
  return line > 0 ? fmt::format("{}:{}: ", name, line) : name + ": ";
}

}  // namespace runnel::config_detail
