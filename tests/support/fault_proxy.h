// A TCP proxy on loopback that does what networks and overloaded servers do: cuts a transfer, delays it, or answers in
// the server's place.
//
// It understands one thing of HTTP/1.1 without pipelining: bytes from the client after bytes from the server (or the
// first bytes of a connection) begin a new request, whose first line is in the first packet. So it fits other protocols
// where only whole connections matter.
//
// THREAD: the methods any; a thread per connection inside.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ltx/base/fs.h"
#include "ltx/base/result.h"
#include "ltx/base/sync.h"

namespace runnel::testing {

class FaultProxy {
 public:
  struct Fault {
    enum class Kind {
      kAnswer,      // `answer` goes back instead of the server's answer, and the connection ends
      kCutAnswer,   // the answer passes up to `bytes`, then the connection ends
      kCutRequest,  // the request passes up to `bytes`, then the connection ends
      kLoseAnswer,  // the request passes and takes effect, its answer does not come back
      kDelay,       // the answer waits for `delay`
    };
    Kind kind = Kind::kAnswer;
    std::string match = "";  // part of the request's first packet; "" fits every request
    int count = 1;           // how many requests it hits
    uint64_t bytes = 0;
    std::string answer = "";
    std::chrono::milliseconds delay{0};
  };

  // Errors: kIo.
  static Result<std::unique_ptr<FaultProxy>> Start(uint16_t target_port);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  uint16_t port() const { return port_; }
  // Behind the faults that are there already; each request is hit by at most one, the first that fits and is not used
  // up.
  void Add(Fault fault);
  // How many requests were hit by faults so far, and how many came at all.
  int hit_count() const;
  int request_count() const;

  // "HTTP/1.1 503 ..." with an S3 error document.
  static std::string S3Answer(int status, const std::string& code);

 private:
  struct Connection;

  FaultProxy(Fd listener, uint16_t port, uint16_t target_port);
  void Accept(std::stop_token stop);
  void Serve(Connection& connection, std::stop_token stop);
  bool BeginRequest(Connection& connection, const std::string& packet);
  std::unique_ptr<Fault> TakeFault(const std::string& packet);

  const Fd listener_;
  const uint16_t port_;
  const uint16_t target_port_;
  mutable Mutex mutex_;
  std::list<Fault> faults_ GUARDED_BY(mutex_);
  int hit_count_ GUARDED_BY(mutex_) = 0;
  int request_count_ GUARDED_BY(mutex_) = 0;
  std::vector<std::jthread> connections_;  // of the accepting thread only
  std::jthread acceptor_;
};

}  // namespace runnel::testing
