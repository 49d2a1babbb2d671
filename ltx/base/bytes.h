// Bytes from outside are read through ByteReader and written through the Store functions, so that every bound is
// checked in one place and every byte order is named. LTX and SQLite's WAL are big-endian; the wal-index is in host
// order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>

namespace runnel {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes AsBytes(std::string_view text) { return {reinterpret_cast<const std::byte*>(text.data()), text.size()}; }
inline std::string_view AsText(Bytes bytes) { return {reinterpret_cast<const char*>(bytes.data()), bytes.size()}; }

inline uint16_t LoadBe16(const std::byte* p) {
  return static_cast<uint16_t>(std::to_integer<uint16_t>(p[0]) << 8 | std::to_integer<uint16_t>(p[1]));
}
inline uint32_t LoadBe32(const std::byte* p) {
  uint32_t v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_bswap32(v);
}
inline uint64_t LoadBe64(const std::byte* p) {
  uint64_t v;
  std::memcpy(&v, p, sizeof v);
  return __builtin_bswap64(v);
}
inline void StoreBe16(std::byte* p, uint16_t v) {
  p[0] = static_cast<std::byte>(v >> 8);
  p[1] = static_cast<std::byte>(v & 0xff);
}
inline void StoreBe32(std::byte* p, uint32_t v) {
  v = __builtin_bswap32(v);
  std::memcpy(p, &v, sizeof v);
}
inline void StoreBe64(std::byte* p, uint64_t v) {
  v = __builtin_bswap64(v);
  std::memcpy(p, &v, sizeof v);
}

// Growable output with the same names.
inline void AppendBe16(std::string& out, uint16_t v) {
  std::byte b[2];
  StoreBe16(b, v);
  out.append(AsText(b));
}
inline void AppendBe32(std::string& out, uint32_t v) {
  std::byte b[4];
  StoreBe32(b, v);
  out.append(AsText(b));
}
inline void AppendBe64(std::string& out, uint64_t v) {
  std::byte b[8];
  StoreBe64(b, v);
  out.append(AsText(b));
}

// A cursor over bytes that are not ours. Reading past the end sets failed() and yields zeros; check once, at the end.
class ByteReader {
 public:
  explicit ByteReader(Bytes bytes) : rest_(bytes) {}

  uint8_t U8() { return Have(1) ? std::to_integer<uint8_t>(Take(1)[0]) : uint8_t{0}; }
  uint16_t Be16() { return Have(2) ? LoadBe16(Take(2).data()) : uint16_t{0}; }
  uint32_t Be32() { return Have(4) ? LoadBe32(Take(4).data()) : 0; }
  uint64_t Be64() { return Have(8) ? LoadBe64(Take(8).data()) : 0; }
  Bytes Raw(size_t size) { return Have(size) ? Take(size) : Bytes(); }

  size_t remaining() const { return rest_.size(); }
  bool failed() const { return failed_; }

 private:
  bool Have(size_t size) {
    if (failed_ || rest_.size() < size) {
      failed_ = true;
      return false;
    }
    return true;
  }
  Bytes Take(size_t size) {
    Bytes head = rest_.first(size);
    rest_ = rest_.subspan(size);
    return head;
  }

  Bytes rest_;
  bool failed_ = false;
};

// Lower-case hexadecimal of bytes; and back (empty result when the text is not hex of whole bytes).
std::string ToHex(Bytes bytes);
std::string FromHex(std::string_view hex);

}  // namespace runnel
