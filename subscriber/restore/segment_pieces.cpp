#include "subscriber/restore/segment_pieces.h"

#include <algorithm>
#include <utility>

#include "ltx/format/index_reader.h"
#include "subscriber/archive/segment.h"
#include "subscriber/restore/plan.h"

namespace runnel::restore {
namespace {

using archive::SegmentBlock;
using archive::SegmentReader;
using archive::SegmentRecord;

// An object read by ranges.
class ObjectSource : public ltx::RandomSource {
 public:
  ObjectSource(store::ObjectStore& store, std::string key, uint64_t size)
      : store_(store), key_(std::move(key)), size_(size) {}
  uint64_t size() const override { return size_; }
  Status ReadAt(uint64_t offset, MutableBytes out) override {
    TRY_ASSIGN(const size_t got, store_.GetAt(key_, offset, out));
    if (got == out.size()) return Ok();
    return Error(Errc::kCorrupt, "ends at byte " + std::to_string(offset + got) + " of " + std::to_string(size_));
  }

 private:
  store::ObjectStore& store_;
  const std::string key_;
  const uint64_t size_;
};

// Files that lie end to end become one piece, as long as it fits into one block.
void AddToPieces(std::vector<Piece>& pieces, const std::string& key, const SegmentRecord& record,
                 uint64_t block_bytes) {
  const Part part{record.ltx_offset, record.ltx_bytes, record.min_txid, record.max_txid, record.checksum};
  if (!pieces.empty()) {
    Piece& last = pieces.back();
    const uint64_t end = last.offset + last.bytes;
    // Between the blocks of a segment lie records: a few bytes that are fetched for nothing.
    if (record.ltx_offset < last.offset && end - record.ltx_offset <= block_bytes) {
      last.offset = record.ltx_offset;
      last.bytes = end - record.ltx_offset;
      last.parts.push_back(part);
      return;
    }
  }
  pieces.push_back({key, record.ltx_offset, record.ltx_bytes, {part}});
}

Error NotTheEnd(Txid target, std::optional<Txid> before, std::optional<Txid> behind) {
  return Error(Errc::kNotFound, "TXID " + ToString(target) +
                                    " cannot be reached exactly: the log holds it together with others; " +
                                    Describe({before, behind}));
}

Result<std::vector<Piece>> CollectPieces(SegmentReader& reader, const SegmentStretch& stretch) {
  std::vector<Piece> pieces;
  const std::vector<SegmentBlock>& blocks = reader.blocks();
  std::optional<Txid> behind;
  Txid needed;  // once a file is found: everything behind it is held by the files collected so far
  for (size_t i = std::min(reader.FirstBlockBehind(stretch.upto.Previous()) + 1, blocks.size()); i-- > 0;) {
    TRY_ASSIGN(const std::vector<SegmentRecord> records, reader.ReadRecords(blocks[i]));
    for (auto record = records.rbegin(); record != records.rend(); ++record) {
      if (pieces.empty() && record->max_txid > stretch.upto) {
        behind = record->max_txid;
        continue;
      }
      if (pieces.empty() && record->max_txid < stretch.upto) {
        return NotTheEnd(stretch.upto, record->max_txid, behind);
      }
      if (!pieces.empty() && record->min_txid > needed) continue;  // a newer file holds all of it
      AddToPieces(pieces, stretch.key, *record, stretch.block_bytes);
      if (record->min_txid <= stretch.after.Next()) return pieces;
      needed = record->min_txid.Previous();
    }
  }
  if (pieces.empty()) return NotTheEnd(stretch.upto, std::nullopt, behind);
  return Error(Errc::kCorrupt, "does not lead from " + ToString(stretch.after) + " to " + ToString(stretch.upto));
}

}  // namespace

Result<std::vector<Piece>> PiecesOfSegment(store::ObjectStore& store, const SegmentStretch& stretch) {
  ObjectSource source(store, stretch.key, stretch.bytes);
  auto collect = [&]() -> Result<std::vector<Piece>> {
    TRY_ASSIGN(SegmentReader reader, SegmentReader::Open(source));
    return CollectPieces(reader, stretch);
  };
  Result<std::vector<Piece>> pieces = collect();
  return pieces.ok() ? std::move(pieces) : Result<std::vector<Piece>>(pieces.error().With(stretch.key));
}

Result<std::optional<Txid>> NewestInSegment(store::ObjectStore& store, const std::string& key, uint64_t bytes,
                                            WallTime time) {
  ObjectSource source(store, key, bytes);
  auto find = [&]() -> Result<std::optional<Txid>> {
    TRY_ASSIGN(SegmentReader reader, SegmentReader::Open(source));
    const std::vector<SegmentBlock>& blocks = reader.blocks();
    for (size_t i = blocks.size(); i-- > 0;) {
      if (blocks[i].last_captured_at <= time) return std::optional(blocks[i].max_txid);
      if (blocks[i].first_captured_at > time) continue;
      TRY_ASSIGN(const std::vector<SegmentRecord> records, reader.ReadRecords(blocks[i]));
      auto record = std::find_if(records.rbegin(), records.rend(),
                                 [&](const SegmentRecord& one) { return one.captured_at <= time; });
      if (record != records.rend()) return std::optional(record->max_txid);
    }
    return std::optional<Txid>();
  };
  Result<std::optional<Txid>> found = find();
  return found.ok() ? std::move(found) : Result<std::optional<Txid>>(found.error().With(key));
}

}  // namespace runnel::restore
