// Foreign programs the tests run against: found in PATH (Debian's) or in the peers directory (tools/peers/get.sh).
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

namespace runnel::testing {

// A program of PATH, also looking into the sbin directories that a user's PATH lacks.
std::optional<std::filesystem::path> FindProgram(std::string_view name);

// <peers directory>/<peer>/<binary>, e.g. FindPeer("nats-server-2.15.2", "nats-server").
// The peers directory is $RUNNEL_PEERS_DIR, else .peers at the root of the sources.
std::optional<std::filesystem::path> FindPeer(std::string_view peer, std::string_view binary);

// True when `program` is there. Else marks the running test as skipped and prints a loud line, or fails it when
// RUNNEL_NO_SKIP=1 (so that a machine meant to run everything cannot skip in silence). Use: if (!RequirePeer(...))
// return;
bool RequirePeer(const std::optional<std::filesystem::path>& program, std::string_view what);

}  // namespace runnel::testing
