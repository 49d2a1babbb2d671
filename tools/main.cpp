// runnel: streams an unmodified SQLite database to live replicas over a message bus. This file only finds the verb; each verb has
// a file of its own.
#include <cstdio>
#include <string>

#include <CLI/CLI.hpp>

#include "ltx/base/log.h"
#include "tools/command.h"
#include "tools/version.h"

namespace runnel::tools {
namespace {

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
  AddStatus(app, context);
  AddWait(app, context);
  AddVerify(app, context);
  AddLtx(app, context);
  AddDoctor(app, context);
  AddBench(app, context);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    int code = app.exit(error);
    return code == 0 ? kExitOk : kExitUsage;
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
