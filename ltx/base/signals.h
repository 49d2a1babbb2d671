// Signals as a stop_token: SIGTERM and SIGINT ask the process to stop cleanly, SIGHUP to reload.
//
// The signals are blocked in every thread and read by one thread of ours, so no code ever runs inside a signal handler.
// A second SIGTERM or SIGINT ends the process at once, for a person who does not want to wait for the clean stop.
//
// A child process inherits the blocked mask: call RestoreSignalsInChild between fork and exec.
#pragma once

#include <csignal>
#include <functional>
#include <memory>
#include <stop_token>

#include "ltx/base/result.h"

namespace runnel {

class Signals {
 public:
  // REQUIRES: called in main before any thread is started, and at most one at a time. `on_hangup` runs in the signal
  // thread on SIGHUP and must only enqueue or wake; without it SIGHUP is ignored. Errors: kIo.
  static Result<std::unique_ptr<Signals>> Install(std::function<void()> on_hangup = nullptr);
  ~Signals();  // unblocks the signals again
  Signals(const Signals&) = delete;
  Signals& operator=(const Signals&) = delete;

  // Stops when SIGTERM or SIGINT came, or RequestStop was called. THREAD: any.
  std::stop_token stop_token() const;
  // The program itself wants to end. THREAD: any.
  void RequestStop();
  // The signal that asked for the stop, 0 if none did.
  int signal() const;
  // Of a clean stop: 130 after SIGINT, 143 after SIGTERM, else 0.
  int exit_code() const { return signal() == 0 ? 0 : 128 + signal(); }

 private:
  struct State;
  explicit Signals(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Async-signal-safe.
void RestoreSignalsInChild();

}  // namespace runnel
