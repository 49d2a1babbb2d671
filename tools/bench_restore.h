// runnel bench restore: see bench_restore.cpp.
#pragma once

#include <cstdint>
#include <string>

namespace runnel::tools {

struct RestoreBenchOptions {
  uint64_t mib = 2048;  // of the database
  int runs = 3;
  std::string archive;     // URL of an empty place for the archive; empty: a directory that is removed again
  std::string litestream;  // its binary; empty: not measured
};

// Prints JSON. Returns the exit code.
int BenchRestore(const RestoreBenchOptions& options);

}  // namespace runnel::tools
