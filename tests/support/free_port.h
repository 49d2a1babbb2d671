// TCP ports nobody listens on, for servers that cannot be told "any port" (or must come back on the same one).
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace runnel::testing {

// `count` different free ports of 127.0.0.1. Another process may take one before it is used: rare, and the server then
// says so.
std::vector<uint16_t> FreePorts(size_t count);

inline uint16_t FreePort() { return FreePorts(1).front(); }

}  // namespace runnel::testing
