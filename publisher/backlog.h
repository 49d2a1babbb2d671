// Where commits wait on disk when the bus is away for so long that the WAL passes its limit: a file-bus log in the
// state directory, holding the very messages that would have gone to the bus. Bounded; empty in normal life.
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
  // Looks whether `directory` holds a backlog of an earlier life. Creates nothing.
  static Result<std::unique_ptr<Backlog>> Open(const std::string& directory, uint64_t bytes_max);

  bool empty() const { return log_ == nullptr; }
  uint64_t bytes() const;
  bool full() const { return bytes() >= bytes_max_; }
  // Where it ends; an empty head when empty.
  Result<LogHead> Head();
  // First TXID it holds; nullopt when empty.
  Result<std::optional<Txid>> FirstTxid();

  // The log to spill into; made when needed.
  Result<bus::Log*> Writable();
  // Its messages from the beginning.
  Result<std::unique_ptr<bus::LogReader>> Read();
  // Everything in it is in the real log now. REQUIRES: no reader or writer of it is left.
  Status Clear();

 private:
  Backlog(std::string directory, uint64_t bytes_max) : directory_(std::move(directory)), bytes_max_(bytes_max) {}
  Status OpenLog();

  std::string directory_;
  uint64_t bytes_max_;
  std::unique_ptr<bus::Log> log_;
};

}  // namespace runnel::publisher
