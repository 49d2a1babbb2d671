// The checksum of a database file as one transaction sees it, and the position it should have.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::tools {

struct ImageFacts {
  uint32_t page_size = 0;
  uint32_t page_count = 0;
  Checksum checksum;
  // Of a replica: the position its subscriber has noted for exactly this image.
  std::optional<Position> position;
};

// Pins the image (readers and writers go on), reads every page. `progress` gets bytes done and bytes in all now and
// then, never for a small file.
// Errors: those of opening a live database; kTimeout when no exact image could be pinned.
Result<ImageFacts> CheckImage(const std::string& path, const std::function<void(uint64_t, uint64_t)>& progress);

// SQLite's own integrity_check: "ok", or what it found.
Result<std::string> IntegrityCheck(const std::string& path);

}  // namespace runnel::tools
