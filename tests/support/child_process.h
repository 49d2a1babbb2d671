// A program started by a test: own process group, standard output and error in one file, ended with the object.
//
// I1  The process and its group never outlive the object; if the test process itself dies, the kernel kills the child
//     (PR_SET_PDEATHSIG: tied to the thread that called Start, so start from the test's main thread).
// I2  The child stays a zombie until the object goes, so its pid and group number cannot be reused while we can signal
// them. THREAD: one thread.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ltx/base/result.h"

namespace runnel::testing {

class ChildProcess {
 public:
  struct Options {
    std::vector<std::string> argv;              // argv[0] is searched in PATH
    std::filesystem::path output = {};          // appended to; empty: /dev/null
    std::vector<std::string> environment = {};  // KEY=VALUE, added to ours
    std::filesystem::path directory = {};       // working directory; empty: ours
  };

  // Errors: kNotFound (no such program), kIo.
  static Result<std::unique_ptr<ChildProcess>> Start(Options options);
  ~ChildProcess();
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;

  pid_t pid() const { return pid_; }

  // Sends the signal to the whole group.
  void Kill(int signal);
  void Freeze();  // SIGSTOP; returns when every thread of the child stands still
  void Thaw();    // SIGCONT

  // Waits for the end of the child. Exit code, or 128 + signal; nullopt when it still runs after `timeout`.
  std::optional<int> Wait(std::chrono::milliseconds timeout);
  bool running() { return !Wait(std::chrono::milliseconds(0)).has_value(); }

  // What it has printed so far.
  std::string Output() const;

 private:
  ChildProcess(pid_t pid, int pidfd, std::filesystem::path output)
      : pid_(pid), pidfd_(pidfd), output_(std::move(output)) {}

  const pid_t pid_;
  const int pidfd_;
  const std::filesystem::path output_;
};

}  // namespace runnel::testing
