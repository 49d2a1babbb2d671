// Quantities as people write them, in configuration and flags: "10s", "1h30m", "64MiB".
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "ltx/base/result.h"

namespace runnel {

// "500ms", "10s", "5m", "1h", "7d", "1h30m", "1.5s", "0". A bare number other than 0 is refused, because nobody can
// tell its unit. Errors: kInvalid.
Result<std::chrono::milliseconds> ParseDuration(std::string_view text);

// "64MiB", "1GB", "512B", "4096" (bytes); KiB/MiB/GiB/TiB are powers of 1024, kB/KB/MB/GB/TB of 1000. Errors: kInvalid.
Result<uint64_t> ParseSize(std::string_view text);

// "512 B", "1.5 MiB".
std::string FormatBytes(uint64_t bytes);

// "999", "12.3k", "4.56M".
std::string FormatCount(double count);

}  // namespace runnel
