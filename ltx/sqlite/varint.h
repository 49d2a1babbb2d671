// SQLite's variable-length integer: 1 to 9 bytes, big-endian groups of 7 bits, the ninth byte whole.
#pragma once

#include <cstddef>
#include <cstdint>

#include "ltx/base/bytes.h"

namespace runnel::sqlite {

struct Varint {
  uint64_t value = 0;
  uint32_t bytes = 0;  // 0: it runs past the end
};

inline Varint ReadVarint(Bytes from) {
  Varint out;
  for (uint32_t i = 0; i < 8; ++i) {
    if (i >= from.size()) return Varint();
    uint64_t byte = std::to_integer<uint64_t>(from[i]);
    out.value = out.value << 7 | (byte & 0x7f);
    if ((byte & 0x80) == 0) {
      out.bytes = i + 1;
      return out;
    }
  }
  if (from.size() < 9) return Varint();
  out.value = out.value << 8 | std::to_integer<uint64_t>(from[8]);
  out.bytes = 9;
  return out;
}

// The same without looking for an end, and moves `p` behind it. REQUIRES: nine bytes may be read from `p`.
inline uint64_t TakeVarint9(const std::byte*& p) {
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) {
    const uint64_t byte = std::to_integer<uint64_t>(*p++);
    value = value << 7 | (byte & 0x7f);
    if (byte < 0x80) return value;
  }
  return value << 8 | std::to_integer<uint64_t>(*p++);
}

}  // namespace runnel::sqlite
