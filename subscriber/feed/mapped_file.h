// Files of the feed's directory that are read and written through memory.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ltx/base/fs.h"
#include "ltx/base/result.h"

namespace runnel::feed {

// Room on disk up to `bytes`, so that a full disk is an error here and not a signal at the first touch of a mapped
// page.
Status Allocate(const File& file, uint64_t bytes);

// The first `bytes` of the file, to be read and written; in place of the mapping `old`, if there is one.
// LIFETIME: until munmap.
Result<std::byte*> Remap(const File& file, std::byte* old, uint64_t old_bytes, uint64_t bytes);

}  // namespace runnel::feed
