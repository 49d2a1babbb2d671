// JSON written straight into a buffer that is used again for every event: at half a million events a second neither a
// tree of values nor a stream would do.
//
// THREAD: one.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string_view>

#include "ltx/base/bytes.h"

namespace runnel::feed {

class JsonText {
 public:
  void Clear() { size_ = 0; }
  std::string_view view() const { return {data_.get(), size_}; }
  size_t size() const { return size_; }
  // REQUIRES: offset + text.size() <= size(). Overwrites what stands there.
  void Patch(size_t offset, std::string_view text) { std::memcpy(data_.get() + offset, text.data(), text.size()); }

  void Put(char c) { *Room(1) = c, ++size_; }
  void Put(std::string_view text) {
    std::memcpy(Room(text.size()), text.data(), text.size());
    size_ += text.size();
  }
  void Number(int64_t value);
  void Number(uint64_t value);
  // The shortest text that reads back as this number, always with a point or an exponent. REQUIRES: finite.
  void Real(double value);
  // With quotes. REQUIRES: valid UTF-8.
  void String(std::string_view text);
  // With quotes, standard alphabet with padding.
  void Base64(Bytes bytes);

 private:
  // Space for `bytes` more.
  char* Room(size_t bytes) {
    if (size_ + bytes > capacity_) Grow(bytes);
    return data_.get() + size_;
  }
  void Grow(size_t bytes);

  std::unique_ptr<char[]> data_;
  size_t size_ = 0;
  size_t capacity_ = 0;
};

// Whether these bytes are UTF-8 as RFC 3629 has it: no surrogates, nothing overlong, nothing above U+10FFFF.
bool IsUtf8(std::string_view text);

}  // namespace runnel::feed
