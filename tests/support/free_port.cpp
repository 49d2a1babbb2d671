#include "tests/support/free_port.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ltx/base/check.h"

namespace runnel::testing {

std::vector<uint16_t> FreePorts(size_t count) {
  std::vector<int> sockets;  // all held until the end, so that the ports differ
  std::vector<uint16_t> ports;
  for (size_t i = 0; i < count; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0, "socket");
    sockets.push_back(fd);
    sockaddr_in address = {};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    CHECK(bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0, "bind");
    CHECK(getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0, "getsockname");
    ports.push_back(ntohs(address.sin_port));
  }
  for (const int fd : sockets) close(fd);
  return ports;
}

}  // namespace runnel::testing
