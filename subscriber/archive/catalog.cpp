#include "subscriber/archive/catalog.h"

#include <utility>
#include <vector>

#include "ltx/base/log.h"
#include "ltx/base/time.h"

namespace runnel::archive {
Result<LoadedManifest> LoadManifest(store::ObjectStore& store, const Layout& layout) {
  const std::string key = layout.ManifestKey();
  std::string bytes;
  Result<store::ObjectInfo> info = store.Get(key, store::ByteRange::All(), [&](Bytes piece) -> Status {
    if (bytes.size() + piece.size() > kManifestBytesMax) return Error(Errc::kCorrupt, "manifest: too large");
    bytes.append(AsText(piece));
    return Ok();
  });
  if (!info.ok()) {
    if (info.code() != Errc::kNotFound) return info.error();
    return Error(Errc::kNotFound, store.location() + " is no archive of ours: it has no manifest");
  }
  Result<Manifest> manifest = DecodeManifest(AsBytes(bytes));
  if (!manifest.ok()) return manifest.error().With(store.location());
  return LoadedManifest{std::move(*manifest), info->version};
}

Result<bool> Catalog::Load() {
  Result<LoadedManifest> loaded = LoadManifest(store_, layout_);
  if (!loaded.ok()) {
    if (loaded.code() != Errc::kNotFound) return loaded.error();
    return false;
  }
  manifest_ = std::move(loaded->manifest);
  version_ = std::move(loaded->version);
  return true;
}

Status Catalog::EachObject(const std::function<Status(const store::ObjectInfo&)>& each) {
  for (uint8_t level = 0; level <= kSnapshotLevel; ++level) TRY(store_.ListAll(layout_.LevelPrefix(level), each));
  return store_.ListAll(layout_.SegmentPrefix(), each);
}

Status Catalog::Create(Manifest manifest) {
  TRY(EachObject([&](const store::ObjectInfo& info) {
    return Error(Errc::kRefused, store_.location() + " holds " + info.key +
                                     " but no manifest: it is not an archive of ours (of Litestream?); give an empty "
                                     "directory, bucket or prefix");
  }));
  return Put(std::move(manifest), store::WriteCondition::IfAbsent());
}

Status Catalog::Put(Manifest manifest, const store::WriteCondition& condition) {
  if (manifest.objects.size() > kManifestObjectsMax) {
    return Error(Errc::kExhausted, store_.location() + ": more than " + std::to_string(kManifestObjectsMax) +
                                       " objects; shorten retention or segment-retention");
  }
  manifest.revision += 1;
  manifest.writer = node_;
  manifest.written_at = SystemClock().Wall();
  store::PutOptions options;
  options.condition = condition;
  Result<std::string> version = store_.Put(layout_.ManifestKey(), AsBytes(EncodeManifest(manifest)), options);
  if (!version.ok()) return version.error();
  manifest_ = std::move(manifest);
  version_ = std::move(*version);
  return Ok();
}

Status Catalog::Update(const std::function<void(Manifest&)>& change) {
  Manifest changed = manifest_;
  change(changed);
  return Put(std::move(changed), store::WriteCondition::IfVersion(version_));
}

Result<uint64_t> Catalog::Sweep() {
  std::vector<std::string> nameless;
  TRY(EachObject([&](const store::ObjectInfo& info) {
    const std::optional<ObjectName> name = layout_.Parse(info.key);
    const bool foreign = name && name->level > kLevelMax && name->level != kSnapshotLevel;
    if (foreign) return Ok();  // of no level that we write
    if (name && manifest_.Find(*name) == nullptr) nameless.push_back(info.key);
    return Ok();
  }));
  for (const std::string& key : nameless) {
    // A rival that has begun meanwhile may be about to name just this one: whoever was held up in here, however long,
    // asks before each.
    TRY_ASSIGN(const store::ObjectInfo manifest, store_.Head(layout_.ManifestKey()));
    if (manifest.version != version_) {
      return Error(Errc::kConflict, store_.location() + ": another archiver has changed the manifest");
    }
    Log(Level::kInfo, "nameless_object_removed", {{"db", manifest_.database}, {"object", key}});
    TRY(store_.Delete(key));
  }
  return uint64_t{nameless.size()};
}

}  // namespace runnel::archive
