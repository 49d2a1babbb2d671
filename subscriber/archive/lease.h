// Who writes an archive: one archiver at a time, so that several on one archive do not do the same work. It is a
// courtesy, not the fence: what keeps an archive whole is that the manifest is replaced only over the version that was
// read, and that objects are never overwritten.
//
// The lease is an object put if absent, renewed and taken over only over the version that was read. It is taken over
// when it has run out, or at once when its holder was a process of this boot of this machine that no longer runs.
#pragma once

#include <chrono>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "ltx/base/result.h"
#include "ltx/base/sync.h"
#include "ltx/base/time.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::archive {

// What the object says.
struct LeaseRecord {
  std::string owner;  // random, of one holding
  std::string node;   // for people
  std::string boot;   // of the machine; with pid and start it names a process for ever
  uint64_t pid = 0;
  uint64_t pid_started = 0;
  WallTime expires_at;
  bool operator==(const LeaseRecord&) const = default;
};
std::string EncodeLease(const LeaseRecord& record);
// Errors: kCorrupt.
Result<LeaseRecord> DecodeLease(std::string_view text);

enum class LeaseClaim { kFree, kHeld };
// May the lease be taken? Pure. `holder_gone`: the holder is a process of this machine that is known to have ended.
LeaseClaim JudgeLease(const LeaseRecord& record, WallTime now, bool holder_gone);

class Lease {
 public:
  struct Options {
    std::string key;
    std::string node;
    std::chrono::milliseconds ttl{60000};
    bool steal = false;  // also from a living holder, which will notice
  };
  // Errors: kUnavailable with who holds it and until when; the store's.
  static Result<std::unique_ptr<Lease>> Acquire(store::ObjectStore& store, Options options);
  // Stops renewing; lets others in, if the store can be reached.
  ~Lease();

  // Asks the store whether it is still ours; if not, held() is false from then on. Errors: the store's.
  Status Check();

  // False once another archiver has taken it, or when it could not be renewed in time.
  bool held() const;

 private:
  Lease(store::ObjectStore& store, Options options, LeaseRecord record, std::string version);
  void Renew(std::stop_token stop);
  Status Put(bool release);

  store::ObjectStore& store_;
  const Options options_;
  LeaseRecord record_;   // of the renewing thread; after it has ended, of the destructor
  std::string version_;  // the same
  Latest<bool> lost_{false};
  Latest<SteadyTime> good_until_;
  std::jthread thread_;
};

}  // namespace runnel::archive
