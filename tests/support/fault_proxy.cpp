#include "tests/support/fault_proxy.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "ltx/base/time.h"

namespace runnel::testing {
namespace {

constexpr int kPollMs = 20;  // how soon a stop is noticed
constexpr size_t kPacketBytes = 64 << 10;

sockaddr_in Loopback(uint16_t port) {
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  return address;
}

bool SendAll(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t sent = ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    if (sent <= 0) return false;
    bytes.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

// Empty at the end.
std::string Receive(int fd) {
  std::string packet(kPacketBytes, '\0');
  const ssize_t got = ::recv(fd, packet.data(), packet.size(), 0);
  packet.resize(static_cast<size_t>(std::max<ssize_t>(got, 0)));
  return packet;
}

// Says good-bye in order: what the client still sends is read, else the kernel resets and the client loses our answer.
void Drain(int fd, const std::stop_token& stop) {
  ::shutdown(fd, SHUT_WR);
  const SteadyTime deadline = DeadlineIn(std::chrono::seconds(5));
  while (!stop.stop_requested() && std::chrono::steady_clock::now() < deadline) {
    pollfd waiting = {.fd = fd, .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, kPollMs) > 0 && Receive(fd).empty()) return;
  }
}

}  // namespace

struct FaultProxy::Connection {
  Fd client;
  Fd server;
  bool request_open = false;     // bytes of the client still belong to the last request
  std::unique_ptr<Fault> fault;  // of that request
  uint64_t passed = 0;           // bytes counted by the fault
};

Result<std::unique_ptr<FaultProxy>> FaultProxy::Start(uint16_t target_port) {
  Fd listener(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = Loopback(0);
  socklen_t size = sizeof(address);
  if (::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 || ::listen(listener.get(), 64) != 0 ||
      ::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
    return ErrnoError(errno, "fault proxy");
  }
  return std::unique_ptr<FaultProxy>(new FaultProxy(std::move(listener), ntohs(address.sin_port), target_port));
}

FaultProxy::FaultProxy(Fd listener, uint16_t port, uint16_t target_port)
    : listener_(std::move(listener)), port_(port), target_port_(target_port) {
  acceptor_ = std::jthread([this](std::stop_token stop) { Accept(stop); });
}

FaultProxy::~FaultProxy() {
  acceptor_.request_stop();
  acceptor_.join();
  connections_.clear();
}

void FaultProxy::Add(Fault fault) {
  MutexLock lock(mutex_);
  faults_.push_back(std::move(fault));
}

int FaultProxy::hit_count() const {
  MutexLock lock(mutex_);
  return hit_count_;
}

int FaultProxy::request_count() const {
  MutexLock lock(mutex_);
  return request_count_;
}

std::string FaultProxy::S3Answer(int status, const std::string& code) {
  const std::string body =
      fmt::format("<Error><Code>{}</Code><Message>made by the fault proxy</Message></Error>", code);
  return fmt::format(
      "HTTP/1.1 {} Fault\r\nContent-Type: application/xml\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", status,
      body.size(), body);
}

void FaultProxy::Accept(std::stop_token stop) {
  while (!stop.stop_requested()) {
    pollfd waiting = {.fd = listener_.get(), .events = POLLIN, .revents = 0};
    if (::poll(&waiting, 1, kPollMs) <= 0) continue;
    Fd client(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    Fd server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const sockaddr_in address = Loopback(target_port_);
    if (!client.valid() || ::connect(server.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0)
      continue;
    auto connection = std::make_unique<Connection>();
    connection->client = std::move(client);
    connection->server = std::move(server);
    connections_.emplace_back([this, moved = std::move(connection)](std::stop_token inner) { Serve(*moved, inner); });
  }
}

std::unique_ptr<FaultProxy::Fault> FaultProxy::TakeFault(const std::string& packet) {
  MutexLock lock(mutex_);
  ++request_count_;
  for (Fault& fault : faults_) {
    if (fault.count == 0 || packet.find(fault.match) == std::string::npos) continue;
    --fault.count;
    ++hit_count_;
    return std::make_unique<Fault>(fault);
  }
  return nullptr;
}

// False: the connection is over.
bool FaultProxy::BeginRequest(Connection& connection, const std::string& packet) {
  connection.request_open = true;
  connection.passed = 0;
  connection.fault = TakeFault(packet);
  if (connection.fault == nullptr || connection.fault->kind != Fault::Kind::kAnswer) return true;
  SendAll(connection.client.get(), connection.fault->answer);
  return false;
}

void FaultProxy::Serve(Connection& connection, std::stop_token stop) {
  const int client = connection.client.get();
  const int server = connection.server.get();
  while (!stop.stop_requested()) {
    std::array<pollfd, 2> waiting = {pollfd{.fd = client, .events = POLLIN, .revents = 0},
                                     pollfd{.fd = server, .events = POLLIN, .revents = 0}};
    if (::poll(waiting.data(), waiting.size(), kPollMs) <= 0) continue;
    const bool upwards = waiting[0].revents != 0;
    std::string packet = Receive(upwards ? client : server);
    if (packet.empty()) return;
    if (upwards && !connection.request_open && !BeginRequest(connection, packet)) return Drain(client, stop);
    if (!upwards) connection.request_open = false;
    const Fault* fault = connection.fault.get();
    bool over = false;
    if (fault != nullptr && fault->kind == (upwards ? Fault::Kind::kCutRequest : Fault::Kind::kCutAnswer)) {
      over = connection.passed + packet.size() >= fault->bytes;
      packet.resize(std::min<uint64_t>(packet.size(), fault->bytes - connection.passed));
      connection.passed += packet.size();
    }
    if (fault != nullptr && !upwards && fault->kind == Fault::Kind::kLoseAnswer) return;
    if (fault != nullptr && !upwards && fault->kind == Fault::Kind::kDelay) {
      if (!SleepUntil(DeadlineIn(fault->delay), stop).ok()) return;
      connection.fault.reset();
    }
    if (!SendAll(upwards ? server : client, packet) || over) return;
  }
}

}  // namespace runnel::testing
