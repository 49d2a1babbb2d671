// A part of an object as a stream, read ahead by a megabyte.
//
// THREAD: one. LIFETIME: store and key must outlive it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "subscriber/archive/store/object_store.h"

namespace runnel::subscriber {

class PartSource : public ltx::ByteSource {
 public:
  PartSource(store::ObjectStore& store, const std::string& key, uint64_t offset, uint64_t bytes)
      : store_(store), key_(key), next_(offset), end_(offset + bytes) {}

  Result<size_t> Read(MutableBytes out) override {
    if (used_ == filled_) TRY(Fill());
    const size_t size = std::min(out.size(), filled_ - used_);
    if (size != 0) std::memcpy(out.data(), buffer_.data() + used_, size);
    used_ += size;
    return size;
  }

 private:
  static constexpr size_t kReadAheadBytes = 1 << 20;

  Status Fill() {
    buffer_.resize(std::min<uint64_t>(kReadAheadBytes, end_ - next_));
    used_ = 0;
    TRY_ASSIGN(filled_, store_.GetAt(key_, next_, buffer_));
    next_ += filled_;
    return Ok();
  }

  store::ObjectStore& store_;
  const std::string& key_;
  uint64_t next_;
  const uint64_t end_;
  std::vector<std::byte> buffer_;
  size_t used_ = 0;
  size_t filled_ = 0;
};

}  // namespace runnel::subscriber
