#include "tests/support/nats_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "ltx/base/check.h"
#include "tests/support/free_port.h"
#include "tests/support/peers.h"

namespace runnel::testing {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr std::chrono::seconds kHealthyMax(30);  // a cluster on a loaded machine elects its leaders in 1-10 s
constexpr milliseconds kHealthPoll(20);
constexpr std::chrono::seconds kStopMax(20);

// One HTTP/1.0 GET on loopback; empty when nobody answers.
std::string HttpGet(uint16_t port, const std::string& path) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  CHECK(fd >= 0, "socket");
  timeval limit = {.tv_sec = 2, .tv_usec = 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof(address)) == 0) {
    const std::string request = "GET " + path + " HTTP/1.0\r\n\r\n";
    if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(request.size())) {
      char buffer[4096];
      ssize_t got = 0;
      while ((got = recv(fd, buffer, sizeof(buffer), 0)) > 0) answer.append(buffer, static_cast<size_t>(got));
    }
  }
  close(fd);
  const size_t body = answer.find("\r\n\r\n");
  return body == std::string::npos ? "" : answer.substr(body + 4);
}

std::string LastLines(const std::string& text, size_t bytes) {
  return text.size() <= bytes ? text : text.substr(text.size() - bytes);
}

}  // namespace

std::optional<std::filesystem::path> DebianNatsServer() { return FindProgram("nats-server"); }

std::optional<std::filesystem::path> NewerNatsServer() { return FindPeer("nats-server-2.15.2", "nats-server"); }

NatsServer::NatsServer(Options options) : options_(std::move(options)) {
  const std::vector<uint16_t> ports = FreePorts(3 * options_.nodes);
  for (size_t i = 0; i < options_.nodes; ++i) {
    Node node;
    node.client_port = ports[3 * i];
    node.route_port = ports[3 * i + 1];
    node.monitor_port = ports[3 * i + 2];
    node.directory = directory_ / fmt::format("node{}", i + 1);
    nodes_.push_back(std::move(node));
  }
}

Result<std::unique_ptr<NatsServer>> NatsServer::Start(Options options) {
  std::unique_ptr<NatsServer> server(new NatsServer(std::move(options)));
  for (size_t i = 0; i < server->nodes_.size(); ++i) {
    server->WriteConfig(server->nodes_[i], i);
    TRY(server->Launch(server->nodes_[i]));
  }
  for (Node& node : server->nodes_) TRY(server->AwaitHealthy(node));
  return server;
}

std::string NatsServer::hosts() const {
  std::string text;
  for (const Node& node : nodes_) text += fmt::format("{}127.0.0.1:{}", text.empty() ? "" : ",", node.client_port);
  return text;
}

void NatsServer::WriteConfig(const Node& node, size_t index) const {
  std::filesystem::create_directories(node.directory);
  std::ofstream file(node.directory / "nats.conf");
  file << fmt::format("server_name: n{}\nlisten: 127.0.0.1:{}\nhttp: 127.0.0.1:{}\n", index + 1, node.client_port,
                      node.monitor_port);
  file << fmt::format("jetstream {{ store_dir: \"{}\", max_mem: 64MB, max_file: 8GB }}\n",
                      (node.directory / "store").string());
  if (nodes_.size() > 1) {
    std::string routes;
    for (const Node& peer : nodes_) {
      routes += fmt::format("{}nats://127.0.0.1:{}", routes.empty() ? "" : ", ", peer.route_port);
    }
    file << fmt::format("cluster {{ name: c1, listen: 127.0.0.1:{}, routes: [ {} ], no_advertise: true }}\n",
                        node.route_port, routes);
  }
  file << options_.extra_config << "\n";
  CHECK(file.good(), "write nats.conf");
}

Status NatsServer::Launch(Node& node) {
  ChildProcess::Options child;
  child.argv = {options_.binary.string(), "-c", (node.directory / "nats.conf").string()};
  child.output = node.directory / "log";
  TRY_ASSIGN(node.process, ChildProcess::Start(std::move(child)));
  return Ok();
}

Status NatsServer::AwaitHealthy(Node& node) {
  const steady_clock::time_point deadline = steady_clock::now() + kHealthyMax;
  // A node of a cluster that comes back under load may never report its streams as current; JetStream itself must be
  // up.
  const std::string path = nodes_.size() > 1 ? "/healthz?js-server-only=true" : "/healthz";
  while (HttpGet(node.monitor_port, path).find("\"ok\"") == std::string::npos) {
    const bool ended = node.process->Wait(kHealthPoll).has_value();
    if (!ended && steady_clock::now() < deadline) continue;
    return Error(Errc::kTimeout, fmt::format("nats-server {}: {}", ended ? "ended" : "is not healthy",
                                             LastLines(node.process->Output(), 600)));
  }
  return Ok();
}

void NatsServer::Stop(size_t node) {
  nodes_[node].process->Kill(SIGTERM);
  CHECK(nodes_[node].process->Wait(kStopMax).has_value(), "nats-server does not stop");
}

void NatsServer::Kill9(size_t node) {
  nodes_[node].process->Kill(SIGKILL);
  CHECK(nodes_[node].process->Wait(kStopMax).has_value(), "nats-server does not die");
}

Status NatsServer::Restart(size_t node) {
  CHECK(!nodes_[node].process->running(), "restart of a running node");
  TRY(Launch(nodes_[node]));
  return AwaitHealthy(nodes_[node]);
}

std::string NatsServer::LogText(size_t node) const {
  std::ifstream file(nodes_[node].directory / "log");
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

std::string NatsServer::Monitor(const std::string& path, size_t node) const {
  return HttpGet(nodes_[node].monitor_port, path);
}

}  // namespace runnel::testing
