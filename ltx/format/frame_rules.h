// What the frames of one LTX file must be, kept once for everybody who meets them in their order: the decoder, which
// decompresses as it goes, and the scanner, which leaves that to others. Private to this room.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "ltx/base/result.h"
#include "ltx/format/checksum.h"
#include "ltx/format/header.h"
#include "ltx/format/types.h"

namespace runnel::ltx {

// Call Check before and Add after each frame; Complete behind the last one. The index that the frames seen so far must
// have is kept while it is short, for most files have few pages; of a longer one only the length is known, and its
// bytes by their CRC.
class FrameRules {
 public:
  FrameRules() = default;
  explicit FrameRules(const Header& header) : header_(header), lock_page_(LockPage(header.page_size)) {}

  // Errors of all: kCorrupt, naming the rule.
  Status Check(Pgno pgno) const {
    const bool usual = pgno == last_pgno_.Next() && pgno.raw() <= header_.commit && pgno != lock_page_;
    return usual ? Ok() : CheckOrder(pgno);
  }
  void Add(Pgno pgno, uint64_t offset, uint64_t frame_bytes);
  Status Complete() const;

  uint64_t index_bytes() const { return index_bytes_; }  // of the entries: without their end and the size
  static constexpr size_t kShortIndexBytesMax = 256;
  // All of the entries, if they are kept. LIFETIME: until the next Add.
  std::optional<Bytes> short_index() const {
    return kept_bytes_ == index_bytes_ ? std::optional(Bytes(kept_, kept_bytes_)) : std::nullopt;
  }
  uint64_t index_crc() const;
  // What follows the entries: one zero byte and the index size.
  static constexpr size_t kIndexEndBytes = 1 + 8;
  Status CheckIndexEnd(Bytes end) const;

 private:
  Status CheckOrder(Pgno pgno) const;

  Header header_;
  Pgno lock_page_;
  Pgno last_pgno_;
  Crc64 index_crc_;  // of the entries before those that are kept
  uint64_t index_bytes_ = 0;
  size_t kept_bytes_ = 0;
  std::byte kept_[kShortIndexBytesMax] = {};
};

}  // namespace runnel::ltx
