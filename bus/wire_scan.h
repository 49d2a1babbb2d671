// Walks the fields of one Protobuf message without building it: no copy, no allocation, so that a message of any
// content can be judged, counted or searched before its bytes are paid for. Knows only the wire types that proto3
// writes.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace runnel::bus {

// Values are those on the wire.
enum class WireType : uint8_t { kVarint = 0, kFixed64 = 1, kDelimited = 2, kFixed32 = 5 };

struct WireField {
  uint32_t number = 0;
  WireType type = WireType::kVarint;  // a known number with another type than its own is an unknown field
  uint64_t value = 0;                 // all but kDelimited
  std::string_view bytes;             // kDelimited

  bool Is(uint32_t other_number, WireType other_type) const { return number == other_number && type == other_type; }
};

// Whether text is UTF-8, which Protobuf demands of its strings (it prints to stderr when it is not: so look first).
inline bool IsUtf8(std::string_view text) {
  size_t i = 0;
  while (i < text.size()) {
    uint8_t lead = static_cast<uint8_t>(text[i++]);
    if (lead < 0x80) continue;
    size_t follow = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
    if (lead < 0xc2 || lead > 0xf4 || text.size() - i < follow) return false;
    uint32_t code = lead & (0x3fu >> follow);
    for (; follow > 0; --follow) {
      uint8_t next = static_cast<uint8_t>(text[i++]);
      if ((next & 0xc0) != 0x80) return false;
      code = code << 6 | (next & 0x3f);
    }
    bool overlong = (lead >= 0xf0 && code < 0x10000) || (lead >= 0xe0 && code < 0x800);
    if (overlong || code > 0x10ffff || (code >= 0xd800 && code <= 0xdfff)) return false;
  }
  return true;
}

class WireScanner {
 public:
  // LIFETIME: the fields' bytes point into `message`.
  explicit WireScanner(std::string_view message) : rest_(message) {}

  // The next field; nullopt at the end, and when the message is malformed (then failed() is true).
  std::optional<WireField> Next() {
    if (rest_.empty() || failed_) return std::nullopt;
    std::optional<uint64_t> tag = Varint();
    if (!tag || *tag > UINT32_MAX || (*tag >> 3) == 0) return Fail();
    WireField field;
    field.number = static_cast<uint32_t>(*tag >> 3);
    field.type = static_cast<WireType>(*tag & 7);
    switch (field.type) {
      case WireType::kVarint: return TakeVarint(field);
      case WireType::kFixed64: return TakeFixed(field, 8);
      case WireType::kDelimited: return TakeDelimited(field);
      case WireType::kFixed32: return TakeFixed(field, 4);
    }
    return Fail();  // groups were removed from Protobuf before this format existed
  }

  bool failed() const { return failed_; }

 private:
  std::nullopt_t Fail() {
    failed_ = true;
    return std::nullopt;
  }

  std::optional<uint64_t> Varint() {
    constexpr size_t kVarintBytesMax = 10;
    uint64_t value = 0;
    for (size_t i = 0; i < kVarintBytesMax && i < rest_.size(); ++i) {
      uint8_t byte = static_cast<uint8_t>(rest_[i]);
      value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
      if ((byte & 0x80) == 0) {
        rest_.remove_prefix(i + 1);
        return value;
      }
    }
    return std::nullopt;
  }

  std::optional<WireField> TakeVarint(WireField field) {
    std::optional<uint64_t> value = Varint();
    if (!value) return Fail();
    field.value = *value;
    return field;
  }

  std::optional<WireField> TakeFixed(WireField field, size_t size) {
    if (rest_.size() < size) return Fail();
    for (size_t i = size; i-- > 0;) {
      field.value = field.value << 8 | static_cast<uint8_t>(rest_[i]);  // little-endian on the wire
    }
    rest_.remove_prefix(size);
    return field;
  }

  std::optional<WireField> TakeDelimited(WireField field) {
    std::optional<uint64_t> size = Varint();
    if (!size || *size > rest_.size()) return Fail();
    field.bytes = rest_.substr(0, static_cast<size_t>(*size));
    rest_.remove_prefix(static_cast<size_t>(*size));
    return field;
  }

  std::string_view rest_;
  bool failed_ = false;
};

}  // namespace runnel::bus
