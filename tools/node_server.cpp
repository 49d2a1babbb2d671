#include "tools/node_server.h"

#include <chrono>
#include <utility>

#include "ltx/base/log.h"
#include "ltx/base/time.h"
#include "ltx/base/units.h"

namespace runnel::tools {
namespace {

constexpr std::chrono::milliseconds kEventPoll{20};
constexpr std::chrono::seconds kEventKeepAlive{10};

HttpResponse Json(int status, const nlohmann::json& json) { return {status, "application/json", json.dump(2) + "\n"}; }

HttpResponse Problem(int status, const std::string& text) { return Json(status, {{"error", text}}); }

HttpResponse Wait(const NodeView& view, const HttpRequest& request) {
  std::optional<Txid> txid = ParseTxid(request.Query("txid"));
  if (!txid) return Problem(400, "txid must be 16 hex digits");
  Result<std::chrono::milliseconds> timeout = ParseDuration(request.Query("timeout", "5s"));
  if (!timeout.ok()) return Problem(400, timeout.error().message());
  Result<bool> reached = view.wait(request.Query("db"), *txid, *timeout, request.stop);
  if (!reached.ok()) return Problem(404, reached.error().message());
  return Json(*reached ? 200 : 408, {{"reached", *reached}});
}

// Positions as server-sent events: one at the start, then one for each change, a comment when nothing changes.
void Events(const NodeView& view, const HttpRequest& request, const SendEvent& send) {
  std::string last;
  SteadyTime sent_at{};
  while (!request.stop.stop_requested()) {
    std::string now = view.positions().dump();
    if (now != last) {
      if (!send("positions", now)) return;
      last = std::move(now);
      sent_at = std::chrono::steady_clock::now();
    } else if (std::chrono::steady_clock::now() - sent_at >= kEventKeepAlive) {
      if (!send("", "")) return;
      sent_at = std::chrono::steady_clock::now();
    }
    if (!SleepUntil(DeadlineIn(kEventPoll), request.stop).ok()) return;
  }
}

}  // namespace

Result<std::unique_ptr<NodeServer>> NodeServer::Start(const std::string& listen, NodeView view) {
  std::unique_ptr<NodeServer> node(new NodeServer());  // private constructor
  node->view_ = std::move(view);
  if (listen == "off") return node;
  if (node->view_.update_metrics) {
    node->metrics_.OnScrape([raw = node.get()] { raw->view_.update_metrics(raw->metrics_); });
  }
  Result<std::unique_ptr<HttpServer>> started = HttpServer::Start({.listen = listen}, node->MakeRoutes());
  if (!started.ok()) {
    // Publisher and subscriber on one host meet here first: both have the same default.
    return Error(started.code(),
                 "http: " + started.error().message() + "; give another address with --http, or --http off");
  }
  node->server_ = std::move(*started);
  Log(Level::kInfo, "http_listens", {{"address", node->server_->address()}});
  return node;
}

NodeServer::~NodeServer() { server_.reset(); }

HttpRoutes NodeServer::MakeRoutes() {
  HttpRoutes routes;
  auto page = [&](const char* path, std::function<HttpResponse(const HttpRequest&)> answer, bool waits = false) {
    routes.pages.push_back({path, std::move(answer), waits});
  };
  page("/status", [this](const HttpRequest&) { return Json(200, view_.status()); });
  page("/metrics", [this](const HttpRequest&) {
    return HttpResponse{200, "text/plain; version=0.0.4", metrics_.Text()};
  });
  page("/healthz", [](const HttpRequest&) { return Json(200, {{"status", "ok"}}); });
  page("/readyz", [this](const HttpRequest&) {
    Readiness readiness = view_.readiness();
    return Json(readiness.ready ? 200 : 503, {{"ready", readiness.ready}, {"reason", readiness.reason}});
  });
  if (view_.wait)
    page(
        "/wait", [this](const HttpRequest& request) { return Wait(view_, request); }, true);
  routes.streams.push_back(
      {"/events", [this](const HttpRequest& request, const SendEvent& send) { Events(view_, request, send); }});
  return routes;
}

}  // namespace runnel::tools
