#include "ltx/format/page_frame.h"

#include <lz4.h>
#include <lz4frame.h>

#include <cstring>
#include <string>

#include "ltx/base/check.h"

namespace runnel::ltx {
namespace {

Error WrongLength(size_t got, size_t wanted) {
  return Error(Errc::kCorrupt,
               "page decompresses to " + std::to_string(got) + " bytes instead of " + std::to_string(wanted));
}

uint32_t LoadLe32(const std::byte* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return v;
}

// Of an LZ4 frame, which tells its length by its blocks only (the LZ4 frame format, version 1).
Result<size_t> Lz4FrameBytesNeeded(Bytes bytes, size_t bytes_max) {
  constexpr uint32_t kMagic = 0x184d2204;
  constexpr size_t kFixedBytes = 4 + 2 + 1;  // magic, two descriptor bytes, header checksum
  if (bytes.size() < kFixedBytes) return kFixedBytes;
  const auto flags = std::to_integer<unsigned>(bytes[4]);
  if (LoadLe32(bytes.data()) != kMagic || flags >> 6 != 1) return Error(Errc::kCorrupt, "page is not an lz4 frame");
  const size_t block_extra = (flags & 0x10) != 0 ? 4 : 0;
  size_t at = kFixedBytes + ((flags & 0x08) != 0 ? 8 : 0) + ((flags & 0x01) != 0 ? 4 : 0);
  while (true) {
    if (at + 4 > bytes_max) {
      return Error(Errc::kCorrupt, "lz4 frame of one page is longer than " + std::to_string(bytes_max) + " bytes");
    }
    if (bytes.size() < at + 4) return at + 4;
    const uint32_t block_bytes = LoadLe32(bytes.data() + at) & 0x7fffffff;
    at += 4;
    if (block_bytes == 0) return at + ((flags & 0x04) != 0 ? 4 : 0);
    at += block_bytes + block_extra;
  }
}

}  // namespace

bool TakeUvarint(Bytes& bytes, uint64_t& value) {
  value = 0;
  for (size_t i = 0; i < bytes.size() && i < kUvarintBytesMax; ++i) {
    const auto byte = std::to_integer<uint64_t>(bytes[i]);
    if (i == kUvarintBytesMax - 1 && byte > 1) return false;
    value |= (byte & 0x7f) << (7 * i);
    if (byte < 0x80) {
      bytes = bytes.subspan(i + 1);
      return true;
    }
  }
  return false;
}

Result<size_t> FrameBytesNeeded(Bytes bytes, PageSize page_size) {
  if (bytes.size() < kPageHeaderBytes) return kPageHeaderBytes;
  const uint32_t pgno = LoadBe32(bytes.data());
  const uint16_t flags = LoadBe16(bytes.data() + 4);
  if (pgno == 0) return flags == 0 ? Result<size_t>(kPageHeaderBytes) : Error(Errc::kCorrupt, "page number 0");
  if ((flags & ~kPageFlagBlock) != 0) return Error(Errc::kCorrupt, "unknown page flags " + std::to_string(flags));
  if (flags == 0) {
    TRY_ASSIGN(size_t needed, Lz4FrameBytesNeeded(bytes.subspan(kPageHeaderBytes), LegacyFrameBytesMax(page_size)));
    return kPageHeaderBytes + needed;
  }
  if (bytes.size() < kFrameHeaderBytes) return kFrameHeaderBytes;
  const uint32_t block_bytes = LoadBe32(bytes.data() + kPageHeaderBytes);
  if (block_bytes == 0 || block_bytes > BlockBytesMax(page_size)) {
    return Error(Errc::kCorrupt, "compressed page of " + std::to_string(block_bytes) + " bytes");
  }
  return kFrameHeaderBytes + block_bytes;
}

// The LZ4 block format: a token whose high half is the number of literals, 15 and more go on in bytes until one is not
// 255; the last sequence of a block has no match.
size_t StoreLiterals(Bytes page, std::byte* out) {
  constexpr size_t kInToken = 15;
  constexpr size_t kInByte = 255;
  size_t used = 0;
  out[used++] = std::byte{kInToken << 4};  // no page is that small
  size_t more = page.size() - kInToken;
  for (; more >= kInByte; more -= kInByte) out[used++] = std::byte{kInByte};
  out[used++] = static_cast<std::byte>(more);
  std::memcpy(out + used, page.data(), page.size());
  return used + page.size();
}

Status DecompressBlock(Bytes block, MutableBytes page) {
  const int got = LZ4_decompress_safe(reinterpret_cast<const char*>(block.data()), reinterpret_cast<char*>(page.data()),
                                      static_cast<int>(block.size()), static_cast<int>(page.size()));
  if (got < 0) return Error(Errc::kCorrupt, "page is not an lz4 block");
  if (static_cast<size_t>(got) != page.size()) return WrongLength(static_cast<size_t>(got), page.size());
  return Ok();
}

void LegacyFrame::Free::operator()(LZ4F_dctx_s* context) const { LZ4F_freeDecompressionContext(context); }

void LegacyFrame::Start(MutableBytes page) {
  if (context_ == nullptr) {
    LZ4F_dctx* context = nullptr;
    const size_t code = LZ4F_createDecompressionContext(&context, LZ4F_VERSION);
    CHECK(!LZ4F_isError(code), "only the end of memory stops liblz4 here");
    context_.reset(context);
  }
  LZ4F_resetDecompressionContext(context_.get());
  page_ = page;
  filled_ = 0;
  taken_ = 0;
  complete_ = false;
}

Result<size_t> LegacyFrame::Feed(Bytes input) {
  size_t taken = 0;
  while (!complete_ && taken < input.size()) {
    size_t out_bytes = page_.size() - filled_;
    size_t in_bytes = input.size() - taken;
    const size_t hint =
        LZ4F_decompress(context_.get(), page_.data() + filled_, &out_bytes, input.data() + taken, &in_bytes, nullptr);
    if (LZ4F_isError(hint)) {
      return Error(Errc::kCorrupt, std::string("page is not an lz4 frame: ") + LZ4F_getErrorName(hint));
    }
    filled_ += out_bytes;
    taken += in_bytes;
    taken_ += in_bytes;
    complete_ = hint == 0;
    if (!complete_ && in_bytes == 0 && out_bytes == 0) {
      return Error(Errc::kCorrupt, "page decompresses to more than " + std::to_string(page_.size()) + " bytes");
    }
    // Empty blocks could otherwise follow each other without end.
    if (taken_ > LegacyFrameBytesMax(PageSize(static_cast<uint32_t>(page_.size())))) {
      return Error(Errc::kCorrupt, "lz4 frame of one page is longer than " + std::to_string(taken_) + " bytes");
    }
  }
  if (complete_ && filled_ != page_.size()) return WrongLength(filled_, page_.size());
  return taken;
}

}  // namespace runnel::ltx
