// An object store in a directory: the key is the path, the file's modification time is the timestamp (as in
// Litestream's file replica, which can therefore read and write the same directory).
//
// A put goes to a temporary file in <directory>/.runnel-tmp, is fsynced, gets its time, is renamed (or hard-linked, for
// "if absent", which the kernel decides) to its name, and the directory is fsynced. Temporary files are locked by their
// writer; the next put in this directory removes those that nobody holds.
//
// "If version" compares inode, times and size under a lock on .runnel-tmp/lock that every put and delete of ours takes
// for the moment of its rename; writers that do not know the lock (cp, Litestream) are outside of that promise.
//
// The directory is made by the first put; empty folders are left behind by Delete. Works on local file systems.
#pragma once

#include <memory>
#include <stop_token>
#include <string>

#include "subscriber/archive/store/object_store.h"

namespace runnel::store {

// `directory` is absolute, without a slash at its end. Touches nothing on disk.
std::unique_ptr<ObjectStore> OpenDirStore(std::string directory, std::stop_token stop = {});

}  // namespace runnel::store
