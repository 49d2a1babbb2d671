// The vocabulary of one database's history. Text forms are those of the LTX specification (superfly/ltx, ltx.go), so
// that logs, file names and positions agree with every other LTX tool.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "ltx/base/result.h"
#include "ltx/base/strong_int.h"

namespace runnel {

// Number of a commit, from 1, one more for each commit, never reused. 0 is "before the first".
class Txid : public StrongInt<Txid, uint64_t> {
 public:
  using StrongInt::StrongInt;
  constexpr Txid Next() const { return Txid(raw() + 1); }
  constexpr Txid Previous() const { return Txid(raw() - 1); }  // REQUIRES: raw() > 0
};

// Number of a page of a database, from 1.
class Pgno : public StrongInt<Pgno, uint32_t> {
 public:
  using StrongInt::StrongInt;
  constexpr Pgno Next() const { return Pgno(raw() + 1); }
};

// Rolling checksum of a whole database, or of one page: CRC-64/GO-ISO with bit 63 always set (LTX format, section 6).
// A database's checksum is the XOR of its pages' checksums with bit 63 set again; order does not matter.
class Checksum : public StrongInt<Checksum, uint64_t> {
 public:
  static constexpr uint64_t kFlag = uint64_t{1} << 63;
  using StrongInt::StrongInt;
  // The checksum of a database without pages.
  static constexpr Checksum Empty() { return Checksum(kFlag); }
  // Adds or removes one page (both are XOR).
  constexpr Checksum Toggle(Checksum page) const { return Checksum(kFlag | (raw() ^ page.raw())); }
  constexpr bool valid() const { return (raw() & kFlag) != 0; }
};

// Bytes of a page: a power of two, 512 to 65536.
class PageSize : public StrongInt<PageSize, uint32_t> {
 public:
  using StrongInt::StrongInt;
  static constexpr bool IsValid(uint32_t bytes) { return bytes >= 512 && bytes <= 65536 && (bytes & (bytes - 1)) == 0; }
};

// The page that SQLite never uses because its bytes are the lock bytes at 1 GiB; no checksum includes it, no LTX holds
// it.
constexpr Pgno LockPage(PageSize size) { return Pgno(0x40000000u / size.raw() + 1); }

// Largest page number SQLite allows (SQLITE_MAX_PAGE_COUNT).
inline constexpr uint32_t kPgnoMax = 0xfffffffeu;

// "0000000000000001": 16 lower-case hex digits. Parsing wants exactly 16 digits of either case.
std::string ToString(Txid txid);
std::string ToString(Checksum checksum);
std::optional<Txid> ParseTxid(std::string_view text);
std::optional<Checksum> ParseChecksum(std::string_view text);

// Names one exact database image. Text form "txid/checksum", 33 characters.
struct Position {
  Txid txid;
  Checksum checksum;
  auto operator<=>(const Position&) const = default;
};
std::string ToString(const Position& position);
std::optional<Position> ParsePosition(std::string_view text);

}  // namespace runnel

template <>
struct std::hash<runnel::Pgno> {
  std::size_t operator()(runnel::Pgno v) const noexcept { return std::hash<uint32_t>()(v.raw()); }
};
template <>
struct std::hash<runnel::Txid> {
  std::size_t operator()(runnel::Txid v) const noexcept { return std::hash<uint64_t>()(v.raw()); }
};
