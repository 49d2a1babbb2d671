#include "ltx/format/frame_rules.h"

#include "ltx/format/page_frame.h"

namespace runnel::ltx {
namespace {

Error Corrupt(std::string what) { return Error(Errc::kCorrupt, std::move(what)); }

}  // namespace

Status FrameRules::CheckOrder(Pgno pgno) const {
  const std::string name = "page " + std::to_string(pgno.raw());
  if (pgno.raw() > header_.commit) {
    return Corrupt(name + " is beyond the commit of " + std::to_string(header_.commit) + " pages");
  }
  if (pgno == lock_page_) return Corrupt(name + " is the lock page");
  if (pgno <= last_pgno_) return Corrupt(name + " follows page " + std::to_string(last_pgno_.raw()));
  if (!header_.IsSnapshot()) return Ok();
  Pgno expected = last_pgno_.Next();
  if (expected == lock_page_) expected = expected.Next();
  return pgno == expected ? Ok() : Status(Corrupt("snapshot lacks page " + std::to_string(expected.raw())));
}

Status FrameRules::Complete() const {
  if (!header_.IsSnapshot() || last_pgno_ == header_.LastPage()) return Ok();
  return Corrupt("snapshot of " + std::to_string(header_.commit) + " pages ends with page " +
                 std::to_string(last_pgno_.raw()));
}

void FrameRules::Add(Pgno pgno, uint64_t offset, uint64_t frame_bytes) {
  if (kShortIndexBytesMax - kept_bytes_ < 3 * kUvarintBytesMax) {
    index_crc_.Update({kept_, kept_bytes_});
    kept_bytes_ = 0;
  }
  std::byte* entry = kept_ + kept_bytes_;
  size_t used = StoreUvarint(entry, pgno.raw());
  used += StoreUvarint(entry + used, offset);
  used += StoreUvarint(entry + used, frame_bytes);
  kept_bytes_ += used;
  index_bytes_ += used;
  last_pgno_ = pgno;
}

uint64_t FrameRules::index_crc() const {
  Crc64 crc = index_crc_;
  crc.Update({kept_, kept_bytes_});
  return crc.value();
}

Status FrameRules::CheckIndexEnd(Bytes end) const {
  if (end[0] != std::byte{0}) return Corrupt("page index has an entry without a page");
  const uint64_t size = LoadBe64(end.data() + 1);
  if (size == index_bytes_ + 1) return Ok();
  return Corrupt("page index size " + std::to_string(size) + " instead of " + std::to_string(index_bytes_ + 1));
}

}  // namespace runnel::ltx
