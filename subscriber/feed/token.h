// Where a consumer of the feed stands: `lineage:txid:ordinal`, the name of one event.
//
//   0af7651916cd43dd8448eb211c80319c:000000000000002a:7      change 7 of commit 42
//   0af7651916cd43dd8448eb211c80319c:000000000000002a:s7     row 7 of the snapshot of the image at commit 42
//
// A commit's BEGIN has the ordinal 0, its changes count from 1, its END is the last. Within a lineage tokens are
// ordered as their events are: a snapshot of the image at a commit comes behind that commit.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ltx/format/types.h"

namespace runnel::feed {

using LineageId = std::array<uint8_t, 16>;

struct Token {
  LineageId lineage{};
  Txid txid;
  bool snapshot = false;
  uint64_t ordinal = 0;

  // REQUIRES: one lineage, else the order means nothing.
  std::strong_ordering operator<=>(const Token& other) const {
    if (auto order = txid <=> other.txid; order != 0) return order;
    if (auto order = snapshot <=> other.snapshot; order != 0) return order;
    return ordinal <=> other.ordinal;
  }
  bool operator==(const Token& other) const = default;
};

std::string ToString(const LineageId& lineage);
std::string ToString(const Token& token);
std::optional<LineageId> ParseLineageId(std::string_view text);
// Strict: exactly the forms above.
std::optional<Token> ParseToken(std::string_view text);

}  // namespace runnel::feed
