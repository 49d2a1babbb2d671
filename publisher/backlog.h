// Where commits wait on disk when the bus is away for so long that the WAL passes its limit, or is so slow that the WAL
// could not be let go: a file-bus log in the state directory, holding the very messages that go to the bus. Bounded;
// empty in normal life.
//
// THREAD: the database's.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "ltx/base/result.h"
#include "publisher/sender.h"

namespace runnel::publisher {

class Backlog {
 public:
  // Looks whether `directory` holds a backlog of an earlier life. Creates nothing. One that cannot be read is logged
  // and removed: what it held is still in the database, and will be published as a delta.
  static Result<std::unique_ptr<Backlog>> Open(const std::string& directory, uint64_t bytes_max);

  bool empty() const { return log_ == nullptr; }
  uint64_t bytes() const;  // of its files
  bool full() const { return bytes() >= bytes_max_; }
  // Where it ends; an empty head when empty.
  Result<LogHead> Head();
  // First TXID it holds; nullopt when empty.
  Result<std::optional<Txid>> FirstTxid();

  // The log to spill into; made when needed. REQUIRES: no writer of it is left when `sync` is another one than before.
  enum class Sync {
    kGroup,  // acked when it is on disk
    kNone,   // acked when it is written: kill -9 loses nothing, a power cut may
  };
  Result<bus::Log*> Writable(Sync sync);
  // Its messages from the beginning.
  Result<std::unique_ptr<bus::LogReader>> Read();
  // Everything in it is in the real log now. REQUIRES: no reader or writer of it is left.
  Status Clear();

 private:
  Backlog(std::string directory, uint64_t bytes_max) : directory_(std::move(directory)), bytes_max_(bytes_max) {}
  Status OpenLog(Sync sync);

  std::string directory_;
  uint64_t bytes_max_;
  std::unique_ptr<bus::Log> log_;
  Sync sync_ = Sync::kGroup;
};

}  // namespace runnel::publisher
