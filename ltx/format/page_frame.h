// One page as it stands in an LTX file, and the number format of the page index. Private to this room: encoder, decoder
// and index reader share it.
//
//   current frame   pgno u32 | flags u16 = 1 | block bytes N u32 | N bytes, one raw LZ4 block
//   legacy frame    pgno u32 | flags u16 = 0 | one LZ4 frame, its length known only by parsing it
//   end marker      six zero bytes
#pragma once

#include <cstdint>
#include <memory>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"

struct LZ4F_dctx_s;

namespace runnel::ltx {

inline constexpr size_t kPageHeaderBytes = 6;    // pgno and flags
inline constexpr size_t kFrameHeaderBytes = 10;  // and the block's length
inline constexpr uint16_t kPageFlagBlock = 0x1;
inline constexpr size_t kUvarintBytesMax = 10;

// LZ4's own bound for incompressible bytes (LZ4_COMPRESSBOUND). Nothing longer is ever written for a page, so a longer
// length is damage, and memory for it is never asked for.
constexpr size_t BlockBytesMax(PageSize size) { return size.raw() + size.raw() / 255 + 16; }
constexpr size_t FrameBytesMax(PageSize size) { return kFrameHeaderBytes + BlockBytesMax(size); }
// A legacy frame of one page adds at most: frame header 19, block lengths and checksums, end mark and content checksum.
constexpr size_t LegacyFrameBytesMax(PageSize size) { return kPageHeaderBytes + BlockBytesMax(size) + 64; }

// Unsigned LEB128. Stores at most kUvarintBytesMax bytes, returns how many.
inline size_t StoreUvarint(std::byte* out, uint64_t value) {
  size_t used = 0;
  for (; value >= 0x80; value >>= 7) out[used++] = static_cast<std::byte>(value | 0x80);
  out[used++] = static_cast<std::byte>(value);
  return used;
}

// Takes a number off the front of `bytes`; false if they end early or the number does not fit.
bool TakeUvarint(Bytes& bytes, uint64_t& value);

// How many bytes the frame (or the end marker) that begins with `bytes` needs: its whole length if that can be told
// from them, else a number larger than bytes.size() with which more can be told. Errors: kCorrupt: it is none.
Result<size_t> FrameBytesNeeded(Bytes bytes, PageSize page_size);

// Stores `page` as an LZ4 block of one run of literals and returns the block's bytes, at most BlockBytesMax.
size_t StoreLiterals(Bytes page, std::byte* out);

// Fills `page` exactly. Errors: kCorrupt.
Status DecompressBlock(Bytes block, MutableBytes page);

// Decompresses one LZ4 frame that arrives in pieces, and finds its end.
class LegacyFrame {
 public:
  LegacyFrame() = default;

  void Start(MutableBytes page);
  // Returns how much of `input` was taken; all of it unless the frame is complete. Errors: kCorrupt.
  Result<size_t> Feed(Bytes input);
  bool complete() const { return complete_; }

 private:
  struct Free {
    void operator()(LZ4F_dctx_s* context) const;
  };
  std::unique_ptr<LZ4F_dctx_s, Free> context_;  // made when the first legacy frame is met
  MutableBytes page_;
  size_t filled_ = 0;
  size_t taken_ = 0;
  bool complete_ = false;
};

}  // namespace runnel::ltx
