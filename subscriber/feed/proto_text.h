// Protobuf's wire format, written by hand: a message is a string to which fields are appended.
#pragma once

#include <bit>
#include <cstdint>
#include <string>
#include <string_view>

namespace runnel::feed {

// THREAD: one.
class ProtoText {
 public:
  void Clear() { bytes_.clear(); }
  const std::string& bytes() const { return bytes_; }
  std::string& bytes() { return bytes_; }

  // A value of 0 is written too where the field is one of a oneof; callers leave out what is the default elsewhere.
  void Unsigned(uint32_t field, uint64_t value) {
    Varint(uint64_t{field} << 3);
    Varint(value);
  }
  void Signed(uint32_t field, int64_t value) { Unsigned(field, static_cast<uint64_t>(value)); }
  void ZigZag(uint32_t field, int64_t value) {
    Unsigned(field, static_cast<uint64_t>(value) << 1 ^ static_cast<uint64_t>(value >> 63));
  }
  void Double(uint32_t field, double value) {
    Varint(uint64_t{field} << 3 | 1);
    uint64_t bits = std::bit_cast<uint64_t>(value);
    for (int i = 0; i < 8; ++i) bytes_ += static_cast<char>(bits >> (8 * i));
  }
  void Bytes(uint32_t field, std::string_view value) {
    Varint(uint64_t{field} << 3 | 2);
    Varint(value.size());
    bytes_ += value;
  }
  void Message(uint32_t field, const ProtoText& message) { Bytes(field, message.bytes()); }

 private:
  void Varint(uint64_t value) {
    for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
    bytes_ += static_cast<char>(value);
  }

  std::string bytes_;
};

}  // namespace runnel::feed
