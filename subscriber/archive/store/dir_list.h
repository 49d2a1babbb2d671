// Listing a directory tree in the order of whole keys, and what a file's metadata says about an object.
#pragma once

#include <sys/stat.h>
#include <time.h>

#include <string>

#include "ltx/base/result.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::store {

// Temporary files and the lock lie here, below the store's directory; never listed.
inline constexpr const char* kTempFolder = ".runnel-tmp";

timespec ToTimespec(WallTime time);
std::string VersionOf(const struct stat& info);
ObjectInfo InfoOf(std::string key, const struct stat& info);

// Reads only folders that can hold a key of the page. A missing directory is empty.
Result<ListPage> ListDirectory(const std::string& root, const ListOptions& options);

}  // namespace runnel::store
