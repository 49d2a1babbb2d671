#include "ltx/base/config_tree.h"

#include <cstddef>
#include <sstream>

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

namespace runnel::config_detail {
namespace {

// Aliases and variables may multiply a small file into a huge tree; nesting may exhaust the stack. No real
// configuration comes near.
constexpr size_t kValuesMax = 100000;
constexpr size_t kTextBytesMax = 16 << 20;  // of values and of their places
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
    TRY(Take(value.path.size(), value.line));
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

  Status Take(size_t text_bytes, int line) {
    text_bytes_ += text_bytes;
    return text_bytes_ <= kTextBytesMax ? Ok() : Status(Refuse(line, "more than 16 MiB of text"));
  }

  Status BuildScalar(const YAML::Node& node, Value& value) {
    value.kind = Value::Kind::kScalar;
    std::string_view rest = node.Scalar();
    TRY(Take(rest.size(), value.line));
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
      TRY(Take(text->size(), value.line));
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
  size_t text_bytes_ = 0;
};

// Sees only where documents begin.
class DocumentCounter : public YAML::EventHandler {
 public:
  int count() const { return count_; }
  int line() const { return line_; }  // of the newest one

  void OnDocumentStart(const YAML::Mark& mark) override {
    ++count_;
    line_ = mark.line + 1;
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t, const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t, YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  int count_ = 0;
  int line_ = 0;
};

}  // namespace

Result<Value> ParseYaml(std::string_view text, const std::string& name, const Config::Environment& environment) {
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    DocumentCounter documents;
    // Not LoadAll: from a comma that belongs to no list, yaml-cpp reads empty documents without end.
    while (documents.count() < 2 && parser.HandleNextDocument(documents)) continue;
    if (documents.count() > 1) return Error(Errc::kInvalid, Place(name, documents.line()) + "a second YAML document");
    const YAML::Node root = YAML::Load(std::string(text));
    if (!root.IsDefined() || root.IsNull()) return Value{.kind = Value::Kind::kMap};
    if (!root.IsMap()) return Error(Errc::kInvalid, Place(name, 1) + "expected \"key: value\" lines");
    return TreeBuilder(name, environment).Build(root, "", 0);
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
