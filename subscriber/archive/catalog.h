// One archive as its writer has it: the store, where things lie, and the manifest with the version it was read at.
//
// THREAD: one, which is the only writer of the manifest in this process. The store may be used by others beside it.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "ltx/base/result.h"
#include "subscriber/archive/layout.h"
#include "subscriber/archive/manifest.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::archive {

// The manifest of an archive, for readers. Errors: kNotFound (no archive there), kCorrupt, kUnsupported; the store's.
struct LoadedManifest {
  Manifest manifest;
  std::string version;  // for WriteCondition::IfVersion
};
Result<LoadedManifest> LoadManifest(store::ObjectStore& store, const Layout& layout);

class Catalog {
 public:
  Catalog(store::ObjectStore& store, Layout layout, std::string node)
      : store_(store), layout_(layout), node_(std::move(node)) {}

  // Reads the manifest again. False: there is none.
  Result<bool> Load();
  // Begins an archive. Errors: kRefused when objects lie there already (another program's archive); kConflict when
  // another archiver was first.
  Status Create(Manifest manifest);

  // Changes the manifest. DURABLE: on return. `change` gets a copy to work on. Errors: kConflict when another archiver
  // has changed it since it was read: Load again. After any error `manifest()` is what was read last.
  Status Update(const std::function<void(Manifest&)>& change);

  // Removes objects without a name: what killed writers left behind. REQUIRES: an Update has succeeded since Load, so
  // that no other writer can give them a name any more. Each is removed only while the manifest is still the one that
  // was read, so that a process that was stopped in here takes nothing from its successor. Returns how many. Errors
  // also: kConflict.
  Result<uint64_t> Sweep();

  const Manifest& manifest() const { return manifest_; }
  store::ObjectStore& store() const { return store_; }
  const Layout& layout() const { return layout_; }
  std::string Key(const ObjectName& name) const { return layout_.Key(name); }

 private:
  Status Put(Manifest manifest, const store::WriteCondition& condition);
  Status EachObject(const std::function<Status(const store::ObjectInfo&)>& each);

  store::ObjectStore& store_;
  const Layout layout_;
  const std::string node_;
  Manifest manifest_;
  std::string version_;
};

}  // namespace runnel::archive
