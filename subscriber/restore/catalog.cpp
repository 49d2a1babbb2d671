#include "subscriber/restore/catalog.h"

#include <algorithm>
#include <map>
#include <utility>

#include "ltx/base/log.h"
#include "subscriber/archive/manifest.h"
#include "subscriber/restore/segment_pieces.h"

namespace runnel::restore {
namespace {

// A listing beyond this is no archive of one database.
constexpr size_t kObjectsMax = 4'000'000;

}  // namespace

Result<Catalog> Catalog::Load(store::ObjectStore& store, const archive::Layout& layout) {
  Catalog catalog(store);
  Status loaded = catalog.LoadManifest(layout);
  if (!loaded.ok() && loaded.code() == Errc::kCorrupt) {
    // The objects prove themselves one by one; the manifest only says where they are.
    Log(Level::kWarn, "manifest_damaged", {{"err", loaded.error().message()}});
    catalog.objects_.clear();
  }
  const bool list = !loaded.ok() && (loaded.code() == Errc::kCorrupt || loaded.code() == Errc::kNotFound);
  if (list) loaded = catalog.ListObjects(layout);
  TRY(std::move(loaded));
  if (catalog.objects_.empty()) {
    return Error(Errc::kNotFound, store.location() +
                                      " holds no archive: neither a manifest nor LTX files; the URL must "
                                      "name what " +
                                      layout.LevelPrefix(0) + " lies in");
  }
  catalog.Index();
  return catalog;
}

Status Catalog::LoadManifest(const archive::Layout& layout) {
  TRY_ASSIGN(const std::string bytes, store_->GetAll(layout.ManifestKey(), archive::kManifestBytesMax));
  TRY_ASSIGN(const archive::Manifest manifest, archive::DecodeManifest(AsBytes(bytes)));
  for (const archive::ArchivedObject& object : manifest.objects) {
    if (object.condemned()) continue;
    objects_.push_back({object.name, layout.Key(object.name), object.bytes, object.checksum, object.captured_at});
  }
  origin_ = LogOrigin{manifest.lineage, manifest.page_size, manifest.database};
  return Ok();
}

Status Catalog::ListObjects(const archive::Layout& layout) {
  std::vector<std::string> prefixes = {layout.SegmentPrefix(), layout.LevelPrefix(archive::kSnapshotLevel)};
  for (uint8_t level = 0; level <= archive::kForeignLevelMax; ++level) prefixes.push_back(layout.LevelPrefix(level));
  for (const std::string& prefix : prefixes) {
    TRY(store_->ListAll(prefix, [&](const store::ObjectInfo& info) -> Status {
      const std::optional<archive::ObjectName> name = layout.Parse(info.key);
      if (!name) return Ok();  // not ours
      if (objects_.size() == kObjectsMax) return Error(Errc::kExhausted, store_->location() + ": too many objects");
      objects_.push_back({*name, info.key, info.size, std::nullopt, info.timestamp});
      return Ok();
    }));
  }
  return Ok();
}

void Catalog::Index() {
  for (const CatalogObject& object : objects_) {
    PlanObject plan;
    plan.min_txid = object.name.min_txid;
    plan.max_txid = object.name.max_txid;
    plan.bytes = object.bytes;
    plan.segment = object.name.kind == archive::ObjectKind::kSegment;
    plan.level = object.name.level;
    plan_objects_.push_back(plan);
  }
}

Result<Txid> Catalog::Newest() const {
  Result<Txid> newest = NewestReachable(plan_objects_);
  return newest.ok() ? newest : newest.error().With(store_->location());
}

Result<WallTime> Catalog::TimeOf(CatalogObject& object) {
  if (!object.time) {
    TRY_ASSIGN(const store::ObjectInfo info, store_->Head(object.key));
    object.time = info.timestamp.value_or(info.modified);
  }
  return *object.time;
}

// Times rise with TXIDs, so few of them are asked for.
Result<std::optional<Txid>> Catalog::NewestInLevel(std::vector<size_t> objects, WallTime time) {
  std::ranges::sort(objects, {}, [&](size_t i) { return objects_[i].name.max_txid; });
  size_t begin = 0;
  size_t end = objects.size();
  while (begin < end) {
    const size_t middle = begin + (end - begin) / 2;
    TRY_ASSIGN(const WallTime at, TimeOf(objects_[objects[middle]]));
    if (at <= time) {
      begin = middle + 1;
    } else {
      end = middle;
    }
  }
  if (begin == 0) return std::optional<Txid>();
  return std::optional(objects_[objects[begin - 1]].name.max_txid);
}

Result<std::optional<Txid>> Catalog::NewestInSegments(std::vector<size_t> objects, WallTime time) {
  std::ranges::sort(objects, {}, [&](size_t i) { return objects_[i].name.max_txid; });
  std::optional<Txid> newest;
  for (size_t i = objects.size(); i-- > 0 && !newest;) {
    const CatalogObject& object = objects_[objects[i]];
    // The segment before may end before the moment, and this one begin after it.
    if (object.time && *object.time <= time) return std::optional(object.name.max_txid);
    TRY_ASSIGN(newest, NewestInSegment(*store_, object.key, object.bytes, time));
  }
  return newest;
}

Result<Txid> Catalog::NewestAt(WallTime time) {
  std::map<uint8_t, std::vector<size_t>> levels;
  std::vector<size_t> segments;
  for (size_t i = 0; i < objects_.size(); ++i) {
    std::vector<size_t>& list = plan_objects_[i].segment ? segments : levels[objects_[i].name.level];
    list.push_back(i);
  }
  Txid newest;
  for (auto& [level, objects] : levels) {
    TRY_ASSIGN(const std::optional<Txid> found, NewestInLevel(std::move(objects), time));
    newest = std::max(newest, found.value_or(Txid()));
  }
  TRY_ASSIGN(const std::optional<Txid> found, NewestInSegments(std::move(segments), time));
  newest = std::max(newest, found.value_or(Txid()));
  const Reachable reachable = ReachableAround(plan_objects_, newest);
  if (newest == Txid() || !reachable.at_or_before) {
    return Error(Errc::kNotFound, store_->location() + ": nothing that old can be restored; " + Describe(reachable));
  }
  return *reachable.at_or_before;
}

Result<ArchivePlan> Catalog::Plan(Txid target, uint64_t block_bytes, Txid from) const {
  ArchivePlan plan;
  plan.target = target;
  Result<std::vector<PlanStep>> steps = PlanRestore(plan_objects_, target, from);
  if (!steps.ok()) return steps.error().With(store_->location());
  plan.steps = std::move(*steps);
  for (auto step = plan.steps.rbegin(); step != plan.steps.rend(); ++step) {
    const CatalogObject& object = objects_[step->object];
    if (object.name.kind == archive::ObjectKind::kLevel) {
      const Part part{0, object.bytes, object.name.min_txid, object.name.max_txid, object.checksum};
      plan.pieces.push_back({object.key, 0, object.bytes, {part}});
    } else {
      SegmentStretch stretch{object.key, object.bytes, step->after, step->upto, block_bytes};
      TRY_ASSIGN(std::vector<Piece> pieces, PiecesOfSegment(*store_, stretch));
      std::ranges::move(pieces, std::back_inserter(plan.pieces));
    }
    // A snapshot within a segment: nothing older is needed.
    if (plan.pieces.back().parts.back().min_txid == Txid(1)) {
      plan.steps.erase(plan.steps.begin(), step.base() - 1);
      break;
    }
  }
  for (const Piece& piece : plan.pieces) plan.bytes += piece.bytes;
  return plan;
}

}  // namespace runnel::restore
