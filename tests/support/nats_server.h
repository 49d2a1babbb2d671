// A real nats-server with JetStream, or a cluster of them, on free loopback ports with a store of its own.
//
// The ports and the store stay the same over Stop, Kill9 and Restart, as with a server that comes back. All methods
// that change a node return once the change has happened (process gone; /healthz says ok). THREAD: one thread.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ltx/base/result.h"
#include "tests/support/child_process.h"
#include "tests/support/temp_dir.h"

namespace runnel::testing {

// Debian's nats-server from PATH; and the pinned newer one of tools/peers/get.sh nats-server.
std::optional<std::filesystem::path> DebianNatsServer();
std::optional<std::filesystem::path> NewerNatsServer();

class NatsServer {
 public:
  struct Options {
    std::filesystem::path binary = "nats-server";
    size_t nodes = 1;
    std::string extra_config = "";  // appended to each node's configuration file: authorization, tls, max_payload
  };

  // Errors: kNotFound (no such program), kTimeout (not healthy in 30 s; the message ends with the server's last lines).
  static Result<std::unique_ptr<NatsServer>> Start(Options options);

  size_t node_count() const { return nodes_.size(); }
  uint16_t port(size_t node = 0) const { return nodes_[node].client_port; }
  // "127.0.0.1:4222,127.0.0.1:4223": what stands between scheme and path of a URL.
  std::string hosts() const;
  std::string Url(const std::string& name) const { return "nats://" + hosts() + "/" + name; }

  void Stop(size_t node = 0);       // SIGTERM
  void Kill9(size_t node = 0);      // SIGKILL
  Status Restart(size_t node = 0);  // REQUIRES: stopped or killed
  ChildProcess& process(size_t node = 0) { return *nodes_[node].process; }

  // The node's log file.
  std::string LogText(size_t node = 0) const;
  // The body of GET http://<monitoring port><path>, e.g. "/jsz?streams=true"; empty when there is no answer.
  std::string Monitor(const std::string& path, size_t node = 0) const;

 private:
  struct Node {
    uint16_t client_port = 0;
    uint16_t route_port = 0;
    uint16_t monitor_port = 0;
    std::filesystem::path directory;
    std::unique_ptr<ChildProcess> process;
  };

  explicit NatsServer(Options options);
  void WriteConfig(const Node& node, size_t index) const;
  Status Launch(Node& node);
  Status AwaitHealthy(Node& node);

  const Options options_;
  TempDir directory_;
  std::vector<Node> nodes_;
};

}  // namespace runnel::testing
