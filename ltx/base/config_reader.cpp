#include "ltx/base/config_reader.h"

#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "ltx/base/config_tree.h"
#include "ltx/base/fs.h"
#include "ltx/base/units.h"

namespace runnel {
namespace {

using config_detail::Place;
using config_detail::Problem;
using config_detail::State;
using config_detail::Value;

// A configuration of a thousand databases is a tenth of this.
constexpr uint64_t kFileBytesMax = 1 << 20;
// More problems than this in one message help nobody.
constexpr size_t kProblemsShown = 8;

std::string_view KindName(Value::Kind kind) {
  switch (kind) {
    case Value::Kind::kNull: return "nothing";
    case Value::Kind::kScalar: return "a single value";
    case Value::Kind::kList: return "a list";
    case Value::Kind::kMap: return "a section";
  }
  return "something else";
}

// nats://user:password@host, and not only a user name.
bool HasPassword(std::string_view text) {
  size_t scheme = text.find("://");
  if (scheme == std::string_view::npos) return false;
  std::string_view authority = text.substr(scheme + 3);
  authority = authority.substr(0, authority.find('/'));
  size_t at = authority.rfind('@');
  return at != std::string_view::npos && authority.substr(0, at).find(':') != std::string_view::npos;
}

void Note(State& state, int line, std::string text) { state.problems.push_back({line, std::move(text)}); }

bool SameKind(State& state, const Value& value, Value::Kind wanted) {
  if (value.kind == wanted) return true;
  Note(state, value.line, fmt::format("{} is {}, expected {}", value.path, KindName(value.kind), KindName(wanted)));
  return false;
}

// NOLINTNEXTLINE(misc-no-recursion): the tree is bounded in depth.
void CollectUnknown(const Value& value, std::vector<Problem>& problems) {
  // A section nobody opened was expected to be something else, which is noted already.
  if (value.kind == Value::Kind::kMap && value.asked.empty() && !value.path.empty()) return;
  std::vector<std::string_view> known(value.asked.begin(), value.asked.end());
  for (const std::pair<std::string, Value>& member : value.members) {
    if (!value.asked.contains(member.first)) {
      std::string text = fmt::format("unknown key \"{}\"", member.first);
      if (!value.path.empty()) text += " in " + value.path;
      std::string_view nearest = NearestWord(member.first, known);
      if (!nearest.empty()) text += fmt::format(", did you mean \"{}\"?", nearest);
      problems.push_back({member.second.line, std::move(text)});
      continue;
    }
    CollectUnknown(member.second, problems);
  }
  for (const Value& item : value.items) CollectUnknown(item, problems);
}

// Edits (insert, delete, replace, swap neighbours) between two words.
size_t EditDistance(std::string_view a, std::string_view b) {
  std::vector<std::vector<size_t>> cost(a.size() + 1, std::vector<size_t>(b.size() + 1));
  for (size_t i = 0; i <= a.size(); ++i) cost[i][0] = i;
  for (size_t j = 0; j <= b.size(); ++j) cost[0][j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t replaced = cost[i - 1][j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1);
      cost[i][j] = std::min({cost[i - 1][j] + 1, cost[i][j - 1] + 1, replaced});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        cost[i][j] = std::min(cost[i][j], cost[i - 2][j - 2] + 1);
      }
    }
  }
  return cost[a.size()][b.size()];
}

}  // namespace

Value* ConfigMap::Find(std::string_view key) const {
  value_->asked.emplace(key);
  for (std::pair<std::string, Value>& member : value_->members) {
    // "key:" without a value is as good as no key.
    if (member.first == key) return member.second.kind == Value::Kind::kNull ? nullptr : &member.second;
  }
  return nullptr;
}

const std::string* ConfigMap::Scalar(std::string_view key) const {
  const Value* value = Find(key);
  if (value == nullptr || !SameKind(*state_, *value, Value::Kind::kScalar)) return nullptr;
  if (!value->expanded && HasPassword(value->scalar)) state_->has_secrets = true;
  return &value->scalar;
}

bool ConfigMap::Has(std::string_view key) const { return Find(key) != nullptr; }

std::string ConfigMap::Text(std::string_view key, std::string_view fallback) const {
  const std::string* text = Scalar(key);
  return text != nullptr ? *text : std::string(fallback);
}

std::string ConfigMap::RequiredText(std::string_view key) const {
  const Value* value = Find(key);
  if (value == nullptr || (value->kind == Value::Kind::kScalar && value->scalar.empty())) {
    std::string place = value_->path.empty() ? std::string() : " in " + value_->path;
    Note(*state_, value != nullptr ? value->line : value_->line, fmt::format("\"{}\" is missing{}", key, place));
    return std::string();
  }
  return Text(key);
}

std::string ConfigMap::Secret(std::string_view key) const {
  const Value* value = Find(key);
  if (value != nullptr && !value->expanded) state_->has_secrets = true;
  return Text(key);
}

bool ConfigMap::Bool(std::string_view key, bool fallback) const {
  return Choice<bool>(
      key, {{"true", true}, {"false", false}, {"yes", true}, {"no", false}, {"on", true}, {"off", false}}, fallback);
}

int64_t ConfigMap::Integer(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  const std::string* text = Scalar(key);
  if (text == nullptr) return fallback;
  int64_t number = 0;
  std::from_chars_result parsed = std::from_chars(text->data(), text->data() + text->size(), number);
  if (parsed.ec != std::errc() || parsed.ptr != text->data() + text->size()) {
    Refuse(key, fmt::format("\"{}\" is not a whole number", *text));
    return fallback;
  }
  if (number < min || number > max) {
    Refuse(key, fmt::format("{} is not between {} and {}", number, min, max));
    return fallback;
  }
  return number;
}

std::chrono::milliseconds ConfigMap::Duration(std::string_view key, std::chrono::milliseconds fallback) const {
  const std::string* text = Scalar(key);
  if (text == nullptr) return fallback;
  Result<std::chrono::milliseconds> duration = ParseDuration(*text);
  if (duration.ok()) return *duration;
  Refuse(key, duration.error().message());
  return fallback;
}

std::optional<std::chrono::milliseconds> ConfigMap::DurationOrNever(
    std::string_view key, std::optional<std::chrono::milliseconds> fallback) const {
  const std::string* text = Scalar(key);
  if (text == nullptr) return fallback;
  if (*text == "never") return std::nullopt;
  Result<std::chrono::milliseconds> duration = ParseDuration(*text);
  if (duration.ok()) return *duration;
  Refuse(key, duration.error().message() + ", or never");
  return fallback;
}

uint64_t ConfigMap::Size(std::string_view key, uint64_t fallback) const {
  const std::string* text = Scalar(key);
  if (text == nullptr) return fallback;
  Result<uint64_t> size = ParseSize(*text);
  if (size.ok()) return *size;
  Refuse(key, size.error().message());
  return fallback;
}

std::optional<size_t> ConfigMap::ChoiceIndex(std::string_view key, const std::vector<std::string_view>& names) const {
  const std::string* text = Scalar(key);
  if (text == nullptr) return std::nullopt;
  std::vector<std::string_view>::const_iterator found = std::ranges::find(names, std::string_view(*text));
  if (found != names.end()) return static_cast<size_t>(found - names.begin());
  Refuse(key, fmt::format("\"{}\" is not one of {}", *text, fmt::join(names, ", ")));
  return std::nullopt;
}

std::vector<std::string> ConfigMap::Texts(std::string_view key) const {
  std::vector<std::string> texts;
  const Value* value = Find(key);
  if (value == nullptr) return texts;
  if (value->kind == Value::Kind::kScalar) return {value->scalar};
  if (!SameKind(*state_, *value, Value::Kind::kList)) return texts;
  for (const Value& item : value->items) {
    if (SameKind(*state_, item, Value::Kind::kScalar)) texts.push_back(item.scalar);
  }
  return texts;
}

ConfigMap ConfigMap::Map(std::string_view key) const {
  Value* value = Find(key);
  if (value != nullptr && SameKind(*state_, *value, Value::Kind::kMap)) return ConfigMap(state_, value);
  return ConfigMap(state_, &state_->nothing);
}

std::vector<ConfigMap> ConfigMap::Maps(std::string_view key) const {
  std::vector<ConfigMap> maps;
  Value* value = Find(key);
  if (value == nullptr || !SameKind(*state_, *value, Value::Kind::kList)) return maps;
  for (Value& item : value->items) {
    if (SameKind(*state_, item, Value::Kind::kMap)) maps.push_back(ConfigMap(state_, &item));
  }
  return maps;
}

void ConfigMap::Refuse(std::string_view key, std::string_view problem) const {
  const Value* value = Find(key);
  std::string name = value_->path.empty() ? std::string(key) : fmt::format("{}.{}", value_->path, key);
  Note(*state_, value != nullptr ? value->line : value_->line, fmt::format("{}: {}", name, problem));
}

const std::string& ConfigMap::path() const { return value_->path; }

Result<std::unique_ptr<Config>> Config::Load(const std::string& path) {
  TRY_ASSIGN(std::string text, ReadFile(path, kFileBytesMax));
  Environment environment = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  };
  TRY_ASSIGN(std::unique_ptr<Config> config, Parse(text, path, environment));
  config->state_->file = path;
  return config;
}

Result<std::unique_ptr<Config>> Config::Parse(std::string_view text, std::string name, const Environment& environment) {
  std::unique_ptr<State> state = std::make_unique<State>();
  state->name = std::move(name);
  TRY_ASSIGN(state->root, config_detail::ParseYaml(text, state->name, environment));
  return std::unique_ptr<Config>(new Config(std::move(state)));
}

Config::Config(std::unique_ptr<config_detail::State> state) : state_(std::move(state)) {}
Config::~Config() = default;

ConfigMap Config::root() const { return ConfigMap(state_.get(), &state_->root); }

Status Config::Finish() const {
  std::vector<Problem> problems = state_->problems;
  CollectUnknown(state_->root, problems);
  if (problems.empty()) return Ok();
  std::ranges::stable_sort(problems, {}, &Problem::line);
  std::string text;
  for (size_t i = 0; i < std::min(problems.size(), kProblemsShown); ++i) {
    if (i > 0) text += "; ";
    text += Place(state_->name, problems[i].line) + problems[i].text;
  }
  if (problems.size() > kProblemsShown) text += fmt::format("; and {} more", problems.size() - kProblemsShown);
  return Error(Errc::kInvalid, std::move(text));
}

std::optional<std::string> Config::SecretsWarning() const {
  struct stat info;
  if (!state_->has_secrets || state_->file.empty() || ::stat(state_->file.c_str(), &info) != 0) return std::nullopt;
  if ((info.st_mode & 077) == 0) return std::nullopt;
  return fmt::format("{} holds secrets and can be read by others (mode {:04o}): chmod 600 {}", state_->file,
                     info.st_mode & 07777, state_->file);
}

std::string_view NearestWord(std::string_view word, const std::vector<std::string_view>& known) {
  std::string_view nearest;
  size_t best = std::max<size_t>(2, word.size() / 3) + 1;
  for (std::string_view candidate : known) {
    // Long words come from the file: the table must stay small.
    if (word.size() > 64 || candidate.size() > 64) continue;
    size_t distance = EditDistance(word, candidate);
    if (distance < best && distance < candidate.size()) {
      best = distance;
      nearest = candidate;
    }
  }
  return nearest;
}

}  // namespace runnel
