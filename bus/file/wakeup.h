// What a waiting reader sleeps on: changes of the log's directory (inotify), a stop request, a deadline.
//
// inotify is a help, not a promise (its instances are limited per user, and a directory may be replaced): without it
// the wait ends after a short tick and the reader looks for itself.
#pragma once

#include <chrono>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "ltx/base/fs.h"

namespace runnel::bus::file {

// One thread.
class Wakeup {
 public:
  explicit Wakeup(const std::string& directory);

  enum class Reason {
    kBytes,  // a file grew
    kFiles,  // files came or went, or it is unknown what happened
    kTick,   // nothing was heard: look anyway
    kDeadline,
    kStop,
  };
  Reason Wait(SteadyTime deadline, std::stop_token stop);

 private:
  bool Drain();  // true if files came or went

  Fd inotify_;
  Fd stop_event_;
  bool watching_ = false;
};

}  // namespace runnel::bus::file
