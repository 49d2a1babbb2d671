// runnel: streams an unmodified SQLite database to live replicas over a message bus. This file only finds the verb;
// each verb has a file of its own.
#include <algorithm>
#include <cstdio>
#include <string>
#include <string_view>
#include <vector>

#include <CLI/CLI.hpp>

#include "ltx/base/config_reader.h"
#include "ltx/base/log.h"
#include "tools/command.h"
#include "tools/version.h"

namespace runnel::tools {
namespace {

// The first word that is neither a flag nor the value of one of ours: what was meant as the verb.
std::string VerbOf(int argc, char** argv) {
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    bool takes_value = word == "--config" || word == "--log-level" || word == "--log-format";
    if (takes_value) ++i;
    if (!takes_value && !word.empty() && word.front() != '-') return word;
  }
  return "";
}

// CLI11's own sentences do not name what was mistyped, nor what was meant.
std::string UsageProblem(const CLI::App& app, const CLI::ParseError& error, const std::string& verb) {
  std::vector<std::string> names;
  for (const CLI::App* one : app.get_subcommands([](const CLI::App*) { return true; }))
    names.push_back(one->get_name());
  std::string list;
  for (const std::string& name : names) list += (list.empty() ? "" : ", ") + name;
  if (verb.empty()) return "no verb given; the verbs are " + list;
  if (std::ranges::find(names, verb) == names.end()) {
    std::string_view near = NearestWord(verb, std::vector<std::string_view>(names.begin(), names.end()));
    if (!near.empty()) return "unknown verb \"" + verb + "\", did you mean \"" + std::string(near) + "\"?";
    return "unknown verb \"" + verb + "\"; the verbs are " + list;
  }
  return "runnel " + verb + ": " + error.what() + "; runnel " + verb + " --help shows what it takes";
}

int Main(int argc, char** argv) {
  CLI::App app("runnel streams an unmodified SQLite database to live read replicas over a message bus.", "runnel");
  app.set_version_flag("--version", std::string("runnel ") + kVersion);
  app.require_subcommand(1);
  app.fallthrough();
  Context context;
  app.add_option("--config", context.config_file, "Configuration file (default: runnel.yml, then /etc/runnel.yml)");
  app.add_option("--log-level", context.log_level, "error, warn, info, debug or trace");
  app.add_option("--log-format", context.log_format, "text or json");
  app.add_flag("--json", context.json, "Print data as JSON");
  AddPublish(app, context);
  AddSubscribe(app, context);
  AddArchive(app, context);
  AddSnapshot(app, context);
  AddFeed(app, context);
  AddStatus(app, context);
  AddWait(app, context);
  AddVerify(app, context);
  AddRestore(app, context);
  AddLtx(app, context);
  AddDoctor(app, context);
  AddBench(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() == 0) return app.exit(error);  // --help, --version
    return Fail(Error(Errc::kInvalid, UsageProblem(app, error, VerbOf(argc, argv))));
  }
  Result<Level> level = ParseLevel(context.log_level);
  Result<LogFormat> format = ParseLogFormat(context.log_format);
  if (!level.ok()) return Fail(level.error());
  if (!format.ok()) return Fail(format.error());
  InitLog({.level = *level, .format = *format});
  return context.run();
}

}  // namespace
}  // namespace runnel::tools

int main(int argc, char** argv) { return runnel::tools::Main(argc, argv); }
