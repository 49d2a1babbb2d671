// What the logs of one process have in common: connections and threads, where an adapter can share them, and numbers
// about them.
//
// A node makes one and gives it to every log it opens (bus/open.h). Without one, each log has connections of its own.
// THREAD: any. LIFETIME: parts live as long as a log uses them or the Shared object stands.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ltx/base/sync.h"

namespace runnel::bus {

// One number of an adapter, for metrics.
struct Statistic {
  std::string name;  // "kafka_producer_round_trip_seconds": goes behind "runnel_"
  std::string help;
  std::map<std::string, std::string> labels;
  double value = 0;
  bool is_total = false;  // only grows
};

class Shared {
 public:
  // What an adapter shares between the logs of one server.
  class Part {
   public:
    virtual ~Part() = default;
    // Quick: called for each look at the metrics.
    virtual std::vector<Statistic> Statistics() = 0;
  };

  // The part of this key, made by the first who asks. The key may hold secrets and is never shown.
  std::shared_ptr<Part> Get(const std::string& key, const std::function<std::shared_ptr<Part>()>& make)
      EXCLUDES_LOCK(mutex_);

  std::vector<Statistic> Statistics() EXCLUDES_LOCK(mutex_);

 private:
  Mutex mutex_;
  std::map<std::string, std::shared_ptr<Part>> parts_ GUARDED_BY(mutex_);
};

}  // namespace runnel::bus
