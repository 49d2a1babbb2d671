#include "tests/support/peers.h"

#include <stdlib.h>
#include <unistd.h>

#include <cstdio>
#include <sstream>
#include <string>

#include <gtest/gtest.h>

namespace runnel::testing {
namespace {

bool IsProgram(const std::filesystem::path& path) { return access(path.c_str(), X_OK) == 0; }

void Skip(const std::string& reason) { GTEST_SKIP() << reason; }

}  // namespace

std::optional<std::filesystem::path> FindProgram(std::string_view name) {
  const char* path = getenv("PATH");
  std::istringstream directories(std::string(path != nullptr ? path : "") + ":/usr/local/sbin:/usr/sbin:/sbin");
  std::string directory;
  while (std::getline(directories, directory, ':')) {
    const std::filesystem::path candidate = std::filesystem::path(directory) / name;
    if (!directory.empty() && IsProgram(candidate)) return candidate;
  }
  return std::nullopt;
}

std::optional<std::filesystem::path> FindPeer(std::string_view peer, std::string_view binary) {
  const char* chosen = getenv("RUNNEL_PEERS_DIR");
  const std::filesystem::path peers = chosen != nullptr && *chosen != '\0'
                                          ? std::filesystem::path(chosen)
                                          : std::filesystem::path(RUNNEL_SOURCE_DIR) / ".peers";
  const std::filesystem::path candidate = peers / peer / binary;
  if (!IsProgram(candidate)) return std::nullopt;
  return candidate;
}

bool RequirePeer(const std::optional<std::filesystem::path>& program, std::string_view what) {
  if (program.has_value()) return true;
  const std::string reason = "SKIPPED: needs " + std::string(what);
  const char* no_skip = getenv("RUNNEL_NO_SKIP");
  if (no_skip != nullptr && std::string_view(no_skip) == "1") {
    ADD_FAILURE() << reason << ", and RUNNEL_NO_SKIP=1 forbids skipping";
    return false;
  }
  fprintf(stderr, "\n*** %s ***\n\n", reason.c_str());
  Skip(reason);
  return false;
}

}  // namespace runnel::testing
