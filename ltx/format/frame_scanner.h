// Takes one LTX file apart without decompressing it: the pages are left to as many threads as there are, and every rule
// of the format is still checked (what decoder.h promises, this and FrameDecoder promise together).
//
//   scanner: Give(piece of the file), Next() until it wants more      one thread, about 50 ns a page
//   FrameDecoder: Decode(frame) into a page                           any number of threads, each with its own
//   scanner: Finish(CRC of all decoded frames, joined in their order)
//
// As with the decoder, no page may be made visible before Finish has returned: only then is the file checksum verified.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/checksum.h"
#include "ltx/format/frame_rules.h"
#include "ltx/format/header.h"
#include "ltx/format/page_frame.h"

namespace runnel::ltx {

// The sum of some frames that lie one behind the other, as the file checksum wants it.
struct FrameSum {
  uint64_t crc = 0;
  uint64_t bytes = 0;  // summed up: page headers and pages

  void Append(const FrameSum& next) {
    crc = JoinCrc64(crc, next.crc, next.bytes);
    bytes += next.bytes;
  }
};

// REQUIRES: Give, then Next until nullopt, and so on until the file's end; then Finish. After an error it is dead.
// Memory: one frame. Owned by one thread.
class FrameScanner {
 public:
  struct Frame {
    Pgno pgno;
    Bytes bytes;           // the whole frame, header included
    bool in_piece = true;  // they lie in the piece given; else in the scanner, until the next call
  };

  // The next bytes of the file, borrowed until the next Give. REQUIRES: Next has said that it wants more.
  void Give(Bytes piece);

  // nullopt: the piece is used up, or all pages have been seen. Errors: kCorrupt with what and where.
  Result<std::optional<Frame>> Next();

  // Known once Next has returned for the first 100 bytes.
  const std::optional<Header>& header() const { return header_; }

  // The file has ended: it is whole, and exactly what its trailer says. Errors: kCorrupt.
  Result<Trailer> Finish(const FrameSum& frames);

 private:
  enum class State { kHeader, kPages, kIndex, kIndexEnd, kTrailer, kEnd };

  // Takes `size` bytes into carry_ as far as the piece has them; true when they are complete.
  bool Gather(size_t size);
  Status TakeHeader();
  Result<std::optional<Frame>> TakeFrame();
  void SkipIndex();
  Status TakeIndexEnd();
  Result<std::optional<Frame>> FrameOf(Bytes bytes, bool in_piece);
  Error Corrupt(const std::string& what) const;

  State state_ = State::kHeader;
  std::optional<Header> header_;
  FrameRules rules_;
  Bytes piece_;                   // what is left of it
  std::vector<std::byte> carry_;  // of what began in an earlier piece
  bool carry_used_ = false;       // it was handed out: dropped at the next call
  uint64_t offset_ = 0;           // in the file, of piece_
  Crc64 head_crc_;                // of the header
  Crc64 tail_crc_;                // of end marker, index, and post-apply checksum
  uint64_t tail_bytes_ = 0;
  Crc64 index_crc_;
  uint64_t index_taken_ = 0;
  Trailer trailer_;
};

// Decompresses frames and sums them up. Owned by one thread.
class FrameDecoder {
 public:
  explicit FrameDecoder(PageSize page_size) : page_joiner_(page_size.raw()), pgno_joiner_(page_size.raw()) {}

  // Fills `page` and adds the frame to sum(). REQUIRES: a frame of a FrameScanner; page is one page long.
  // Errors: kCorrupt. Returns the page's checksum.
  Result<Checksum> Decode(const FrameScanner::Frame& frame, MutableBytes page);

  // Of the frames since the last TakeSum.
  FrameSum TakeSum() { return std::exchange(sum_, FrameSum()); }

 private:
  Crc64Joiner page_joiner_;
  Crc64Joiner pgno_joiner_;
  FrameSum sum_;
  LegacyFrame legacy_;
};

}  // namespace runnel::ltx
