// Where an archive's objects lie in its store: keys are made and parsed here and nowhere else (LAYOUT.md).
//
// Levels and snapshots lie where Litestream v0.5 keeps them, which differs between its backends; what is ours lies
// beside them, where Litestream does not look.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::archive {

// The values are stored in manifests and never change.
enum class ObjectKind : uint8_t {
  kLevel = 1,    // an LTX file in Litestream's dialect
  kSegment = 2,  // a piece of the verbatim log
};

// Levels 0 to 3 hold ranges of commits, each level longer ones than the level below; 9 holds whole images. Litestream
// can be told to keep levels up to 8: they are read, and left alone.
inline constexpr uint8_t kLevelMax = 3;
inline constexpr uint8_t kForeignLevelMax = 8;
inline constexpr uint8_t kSnapshotLevel = 9;

// What a key of an archive names.
struct ObjectName {
  ObjectKind kind = ObjectKind::kLevel;
  uint8_t level = 0;  // 0 for segments
  Txid min_txid;
  Txid max_txid;
  auto operator<=>(const ObjectName&) const = default;
};
// For messages: "level 1 0000000000000001-0000000000000009", "segment ...".
std::string ToString(const ObjectName& name);

class Layout {
 public:
  // By the scheme of the store's URL: "s3" has one dialect; "file", "nats" and "tls" the other. Errors: kInvalid.
  static Result<Layout> ForScheme(std::string_view scheme);
  static Result<Layout> ForUrl(std::string_view url);

  std::string Key(const ObjectName& name) const;
  // nullopt for a key that is none of ours, or not spelled exactly as Key spells it.
  std::optional<ObjectName> Parse(std::string_view key) const;
  // What all keys of a level, or of all segments, begin with.
  std::string LevelPrefix(uint8_t level) const;
  std::string SegmentPrefix() const { return "segments/"; }

  std::string ManifestKey() const { return "manifest"; }
  std::string LeaseKey() const { return "lease"; }

 private:
  enum class Dialect { kTree, kS3 };
  explicit Layout(Dialect dialect) : dialect_(dialect) {}

  Dialect dialect_;
};

}  // namespace runnel::archive
