// The log that an archive keeps in its segments (archive_source.h).
#include <algorithm>
#include <utility>

#include "ltx/base/bytes.h"
#include "subscriber/archive/object_io.h"
#include "subscriber/archive/segment.h"
#include "subscriber/archive_source.h"
#include "subscriber/part_source.h"

namespace runnel::subscriber {
namespace {

// Blocks are a quarter of a megabyte, but for those of one large file; such a file is read as a stream.
constexpr uint64_t kBlockBytesMax = uint64_t{8} << 20;

bus::Entry EntryOf(const archive::SegmentRecord& record) {
  bus::Entry entry;
  entry.min_txid = record.min_txid;
  entry.max_txid = record.max_txid;
  entry.origin = record.origin;
  entry.captured_at = record.captured_at;
  return entry;
}

using Visitor = std::function<Result<bool>(const ArchiveSource::LogFile&)>;

// One segment. The records of a block lie behind its files, so a small block is fetched whole.
class SegmentWalk {
 public:
  SegmentWalk(store::ObjectStore& store, const restore::CatalogObject& object, const Visitor& visit)
      : store_(store), object_(object), visit_(visit), random_(store, object.key, object.bytes) {}

  // False: the visitor has ended the walk.
  Result<bool> Run(Txid after) {
    TRY_ASSIGN(archive::SegmentReader reader, archive::SegmentReader::Open(random_));
    for (size_t i = reader.FirstBlockBehind(after); i < reader.blocks().size(); ++i) {
      const archive::SegmentBlock& block = reader.blocks()[i];
      Result<bool> more =
          block.bytes <= kBlockBytesMax ? WholeBlock(reader, block, after) : FileByFile(reader, block, after);
      if (!more.ok() || !*more) return more;
    }
    return true;
  }

 private:
  Result<bool> WholeBlock(archive::SegmentReader& reader, const archive::SegmentBlock& block, Txid after) {
    TRY_ASSIGN(const archive::SegmentReader::Block whole, reader.ReadBlock(block, kBlockBytesMax));
    for (const archive::SegmentRecord& record : whole.records) {
      if (record.max_txid <= after) continue;
      const Bytes file = whole.File(record, block);
      if (file.size() < ltx::kHeaderBytes) return Error(Errc::kCorrupt, "an LTX file is too short");
      TRY_ASSIGN(ltx::Header header, ltx::DecodeHeader(file.first(ltx::kHeaderBytes)));
      ltx::BytesSource source(file);
      TRY_ASSIGN(const bool more, visit_({EntryOf(record), header, source}));
      if (!more) return false;
    }
    return true;
  }

  Result<bool> FileByFile(archive::SegmentReader& reader, const archive::SegmentBlock& block, Txid after) {
    TRY_ASSIGN(const std::vector<archive::SegmentRecord> records, reader.ReadRecords(block));
    for (const archive::SegmentRecord& record : records) {
      if (record.max_txid <= after) continue;
      std::vector<std::byte> head(ltx::kHeaderBytes);
      TRY(random_.ReadAt(record.ltx_offset, head));
      TRY_ASSIGN(ltx::Header header, ltx::DecodeHeader(head));
      PartSource source(store_, object_.key, record.ltx_offset, record.ltx_bytes);
      TRY_ASSIGN(const bool more, visit_({EntryOf(record), header, source}));
      if (!more) return false;
    }
    return true;
  }

  store::ObjectStore& store_;
  const restore::CatalogObject& object_;
  const Visitor& visit_;
  archive::ObjectRandomSource random_;
};

}  // namespace

std::vector<const restore::CatalogObject*> ArchiveSource::SegmentsBehind(Txid after) const {
  std::vector<const restore::CatalogObject*> segments;
  for (const restore::CatalogObject& object : catalog_->objects()) {
    const bool segment = object.name.kind == archive::ObjectKind::kSegment;
    if (segment && object.name.max_txid > after) segments.push_back(&object);
  }
  std::ranges::sort(segments, {}, [](const restore::CatalogObject* one) { return one->name.max_txid; });
  return segments;
}

Status ArchiveSource::WalkLogFiles(Txid after, const std::function<Result<bool>(const LogFile&)>& visit) {
  Txid reached = after;
  for (const restore::CatalogObject* segment : SegmentsBehind(after)) {
    if (segment->name.max_txid <= reached) continue;  // joined with others while it still stands by itself
    if (segment->name.min_txid > reached.Next()) {
      return Error(Errc::kGap, store_->location() + " keeps no single commits from " + ToString(reached.Next()) +
                                   " to " + ToString(segment->name.min_txid.Previous()));
    }
    Result<bool> more = SegmentWalk(*store_, *segment, visit).Run(reached);
    if (!more.ok()) return more.error().With(segment->key);
    if (!*more) return Ok();
    reached = segment->name.max_txid;
  }
  return Ok();
}

std::optional<Txid> ArchiveSource::OldestFollowedImage() const {
  // Back from the newest segment, for as long as each leads to the next one.
  std::vector<const restore::CatalogObject*> segments = SegmentsBehind(Txid());
  if (segments.empty()) return Newest();
  Txid first = segments.back()->name.min_txid;
  for (auto segment = segments.rbegin(); segment != segments.rend(); ++segment) {
    if ((*segment)->name.max_txid.Next() < first) break;
    first = std::min(first, (*segment)->name.min_txid);
  }
  const Txid before = Txid(std::max<uint64_t>(first.raw(), 1) - 1);
  std::optional<Txid> oldest;
  for (const restore::CatalogObject& object : catalog_->objects()) {
    const bool image = object.name.kind != archive::ObjectKind::kSegment && object.name.min_txid == Txid(1);
    if (image && object.name.max_txid >= before && (!oldest || object.name.max_txid < *oldest)) {
      oldest = object.name.max_txid;
    }
  }
  return oldest;
}

}  // namespace runnel::subscriber
