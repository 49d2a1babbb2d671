// Events as they lie in the segments of an event store (event_store.h has the byte tables).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ltx/base/bytes.h"
#include "ltx/format/checksum.h"
#include "subscriber/feed/token.h"

namespace runnel::feed {

inline constexpr std::string_view kSegmentMagic = "RNLEVNT1";
inline constexpr size_t kSegmentHeadBytes = 56;
inline constexpr size_t kEventHeadBytes = 32;

inline uint64_t CrcOf(Bytes bytes) {
  ltx::Crc64 crc;
  crc.Update(bytes);
  return crc.value();
}

// Fixed on disk: 0 none, 1 of a commit, 2 of a snapshot.
inline uint8_t KindOf(const std::optional<Token>& token) { return !token ? 0 : token->snapshot ? 2 : 1; }

// nullopt for kind 0, and for kinds that do not exist.
inline std::optional<Token> TokenFrom(const LineageId& lineage, uint8_t kind, uint64_t txid, uint64_t ordinal) {
  if (kind != 1 && kind != 2) return std::nullopt;
  return Token{lineage, Txid(txid), kind == 2, ordinal};
}

struct EventHead {
  uint64_t crc = 0;
  uint32_t text_bytes = 0;
  std::optional<Token> token;
  bool ends = false;

  uint64_t EventBytes() const { return kEventHeadBytes + uint64_t{text_bytes}; }
};

// REQUIRES: at least kEventHeadBytes.
inline EventHead ReadEventHead(Bytes bytes, const LineageId& lineage) {
  ByteReader reader(bytes.first(kEventHeadBytes));
  EventHead head;
  head.crc = reader.Be64();
  head.text_bytes = reader.Be32();
  const uint8_t kind = reader.U8();
  head.ends = reader.U8() == 1;
  reader.Be16();
  const uint64_t txid = reader.Be64();
  head.token = TokenFrom(lineage, kind, txid, reader.Be64());
  return head;
}

// REQUIRES: `event` is head.EventBytes() long.
inline bool IsWholeEvent(const EventHead& head, Bytes event) {
  return head.token.has_value() && CrcOf(event.subspan(8)) == head.crc;
}

}  // namespace runnel::feed
