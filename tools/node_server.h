// The HTTP side of a node: /status, /metrics, /healthz, /readyz, /wait and /events, answered from snapshots of its
// threads.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ltx/base/http.h"
#include "ltx/base/metrics.h"
#include "ltx/base/result.h"
#include "tools/node_json.h"

namespace runnel::tools {

// What a node gives the server; called from the server's threads.
struct NodeView {
  std::function<nlohmann::json()> status;     // of /status
  std::function<Readiness()> readiness;       // of /readyz
  std::function<nlohmann::json()> positions;  // of /events: sent whenever it changes
  // Of /wait: whether `db` shows `txid` before the deadline. Unset: 404.
  std::function<Result<bool>(const std::string& db, Txid txid, std::chrono::milliseconds timeout, std::stop_token stop)>
      wait;
  std::function<void(Metrics&)> update_metrics;
};

class NodeServer {
 public:
  // `listen`: host:port, unix:/path, or "off" (then nothing is served). LIFETIME: the view's functions must outlive the
  // server.
  static Result<std::unique_ptr<NodeServer>> Start(const std::string& listen, NodeView view);
  ~NodeServer();

 private:
  NodeServer() = default;
  HttpRoutes MakeRoutes();

  NodeView view_;
  Metrics metrics_;
  std::unique_ptr<HttpServer> server_;  // ends first
};

}  // namespace runnel::tools
