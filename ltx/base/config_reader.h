// Reads a YAML file into checked settings. Untrusted input: bounded in size, depth and number of values.
//
//   TRY_ASSIGN(std::unique_ptr<Config> config, Config::Load("runnel.yml"));
//   for (ConfigMap db : config->root().Maps("dbs")) {
//     options.path = db.RequiredText("path");
//     options.heartbeat_interval = db.Duration("heartbeat-interval", 10s);
//   }
//   TRY(config->Finish());
//
// The getters never fail: a value that is missing or malformed is noted with its place and the fallback is returned, so
// the reading code stays straight. Finish reports all that was noted, and every key nobody asked for:
//
//   runnel.yml:12: unknown key "pth" in dbs[0], did you mean "path"?
//
// ${NAME} in a value is replaced by that environment variable (an error if it is not set); $${ stands for ${ itself.
// THREAD: one. LIFETIME: a ConfigMap borrows from its Config.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ltx/base/result.h"

namespace runnel {

namespace config_detail {
struct Value;
struct State;
}  // namespace config_detail

// One mapping of the file. A key that is absent gives an empty mapping, so nested sections need no questions first.
class ConfigMap {
 public:
  bool Has(std::string_view key) const;

  std::string Text(std::string_view key, std::string_view fallback = "") const;
  std::string RequiredText(std::string_view key) const;  // noted if absent or empty
  // A text that must not be seen by others: see Config::SecretsWarning.
  std::string Secret(std::string_view key) const;
  bool Bool(std::string_view key, bool fallback) const;
  int64_t Integer(std::string_view key, int64_t fallback, int64_t min = std::numeric_limits<int64_t>::min(),
                  int64_t max = std::numeric_limits<int64_t>::max()) const;
  // Forms: ltx/base/units.h.
  std::chrono::milliseconds Duration(std::string_view key, std::chrono::milliseconds fallback) const;
  // "never" is nullopt.
  std::optional<std::chrono::milliseconds> DurationOrNever(std::string_view key,
                                                           std::optional<std::chrono::milliseconds> fallback) const;
  uint64_t Size(std::string_view key, uint64_t fallback) const;
  // One of the named values.
  template <typename T>
  T Choice(std::string_view key, std::initializer_list<std::pair<std::string_view, T>> choices, T fallback) const {
    std::vector<std::string_view> names;
    for (const std::pair<std::string_view, T>& choice : choices) names.push_back(choice.first);
    std::optional<size_t> index = ChoiceIndex(key, names);
    return index ? (choices.begin() + *index)->second : fallback;
  }
  // A list of texts; a single text counts as a list of one.
  std::vector<std::string> Texts(std::string_view key) const;

  ConfigMap Map(std::string_view key) const;
  std::vector<ConfigMap> Maps(std::string_view key) const;  // a list of mappings

  // Notes a problem of this key that only the reader of the settings can see, with its place.
  void Refuse(std::string_view key, std::string_view problem) const;
  // "dbs[0]"; empty for the root.
  const std::string& path() const;

 private:
  friend class Config;
  ConfigMap(config_detail::State* state, config_detail::Value* value) : state_(state), value_(value) {}
  config_detail::Value* Find(std::string_view key) const;
  const std::string* Scalar(std::string_view key) const;
  std::optional<size_t> ChoiceIndex(std::string_view key, const std::vector<std::string_view>& names) const;

  config_detail::State* state_;
  config_detail::Value* value_;
};

class Config {
 public:
  // The value of an environment variable, nullopt if it is not set.
  using Environment = std::function<std::optional<std::string>(const std::string& name)>;

  // Errors: kNotFound, kIo, kInvalid (not YAML, too large, a variable that is not set).
  static Result<std::unique_ptr<Config>> Load(const std::string& path);
  // `name` stands for the file in messages.
  static Result<std::unique_ptr<Config>> Parse(std::string_view text, std::string name, const Environment& environment);
  ~Config();
  Config(const Config&) = delete;
  Config& operator=(const Config&) = delete;

  ConfigMap root() const;

  // Call after all settings were read. Errors: kInvalid with every problem, in the order of the lines.
  Status Finish() const;

  // A sentence when the file holds secrets (a Secret, or a URL with a password, that is not from the environment) and
  // others than its owner may read it.
  std::optional<std::string> SecretsWarning() const;

 private:
  explicit Config(std::unique_ptr<config_detail::State> state);
  std::unique_ptr<config_detail::State> state_;
};

// The nearest of `known` to a mistyped word; empty when none is near.
std::string_view NearestWord(std::string_view word, const std::vector<std::string_view>& known);

}  // namespace runnel
