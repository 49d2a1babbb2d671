// The command line: one file a verb. Each verb adds its sub-command to the app and leaves behind what to run.
#pragma once

#include <functional>
#include <string>

#include "ltx/base/result.h"

namespace CLI {
class App;
}

namespace runnel::tools {

// Exit codes of design section 9.
inline constexpr int kExitOk = 0;
inline constexpr int kExitFailed = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitRefused = 3;
inline constexpr int kExitTimeout = 4;
inline constexpr int kExitFenced = 5;

int ExitCode(const Error& error);
// Prints "runnel: <message>" to stderr and returns the exit code.
int Fail(const Error& error);

// What all verbs share.
struct Context {
  std::string config_file;  // --config; empty: runnel.yml, then /etc/runnel.yml, if they are there
  std::string log_level = "info";
  std::string log_format = "text";
  bool json = false;
  // Set by the verb that was chosen.
  std::function<int()> run;
};

void AddPublish(CLI::App& app, Context& context);
void AddSubscribe(CLI::App& app, Context& context);
void AddArchive(CLI::App& app, Context& context);
void AddSnapshot(CLI::App& app, Context& context);
void AddStatus(CLI::App& app, Context& context);
void AddWait(CLI::App& app, Context& context);
void AddVerify(CLI::App& app, Context& context);
void AddRestore(CLI::App& app, Context& context);
void AddLtx(CLI::App& app, Context& context);
void AddDoctor(CLI::App& app, Context& context);
void AddBench(CLI::App& app, Context& context);
void AddFeed(CLI::App& app, Context& context);

}  // namespace runnel::tools
