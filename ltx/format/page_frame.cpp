#include "ltx/format/page_frame.h"

#include <lz4.h>
#include <lz4frame.h>

#include <string>

#include "ltx/base/check.h"

namespace runnel::ltx {
namespace {

Error WrongLength(size_t got, size_t wanted) {
  return Error(Errc::kCorrupt,
               "page decompresses to " + std::to_string(got) + " bytes instead of " + std::to_string(wanted));
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
