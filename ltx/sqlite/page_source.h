// Where the pages of one database image come from. Decoders of b-trees and records read through this and nothing else,
// so that the same code works on a file, on an LTX, and on a commit laid over the image before it.
#pragma once

#include <string>
#include <unordered_map>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::sqlite {

// THREAD: as the implementation says. LIFETIME: the bytes of a page stay where and what they are as long as the source
// lives.
class PageSource {
 public:
  virtual ~PageSource() = default;
  virtual uint32_t page_count() const = 0;
  // A whole page. Errors: kCorrupt (no such page), the medium's.
  virtual Result<Bytes> Page(Pgno pgno) const = 0;
};

// An image that lies in memory as a whole.
class MemorySource : public PageSource {
 public:
  MemorySource(Bytes image, uint32_t page_size) : image_(image), page_size_(page_size) {}

  uint32_t page_count() const override { return static_cast<uint32_t>(image_.size() / page_size_); }
  Result<Bytes> Page(Pgno pgno) const override {
    if (pgno.raw() == 0 || pgno.raw() > page_count()) {
      return Error(Errc::kCorrupt, "page " + std::to_string(pgno.raw()) + ": not in the image");
    }
    return image_.subspan(size_t{pgno.raw() - 1} * page_size_, page_size_);
  }

 private:
  Bytes image_;
  uint32_t page_size_;
};

// The image after a commit: its pages, and for all others those of the image before. LIFETIME: the base and all bytes
// put in.
class OverlaySource : public PageSource {
 public:
  OverlaySource(const PageSource& base, uint32_t page_count) : base_(base), page_count_(page_count) {}

  void Put(Pgno pgno, Bytes page) { pages_[pgno] = page; }

  uint32_t page_count() const override { return page_count_; }
  Result<Bytes> Page(Pgno pgno) const override {
    if (pgno.raw() == 0 || pgno.raw() > page_count_) {
      return Error(Errc::kCorrupt, "page " + std::to_string(pgno.raw()) + ": not in the image");
    }
    auto found = pages_.find(pgno);
    if (found != pages_.end()) return found->second;
    return base_.Page(pgno);
  }

 private:
  const PageSource& base_;
  const uint32_t page_count_;
  std::unordered_map<Pgno, Bytes> pages_;
};

}  // namespace runnel::sqlite
