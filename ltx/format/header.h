// Header and trailer of an LTX file, byte-exact with superfly/ltx v0.5.2 (ltx/format/FORMAT.md has the tables).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::ltx {

inline constexpr size_t kHeaderBytes = 100;
inline constexpr size_t kTrailerBytes = 16;
// The smallest possible file: header, end marker, empty index (one byte and its size), trailer.
inline constexpr size_t kFileBytesMin = 131;

struct Header {
  bool no_checksum = false;  // header flag 0x2: pre- and post-apply checksums are not tracked and must be zero
  PageSize page_size;
  uint32_t commit = 0;  // database size in pages after applying
  Txid min_txid;
  Txid max_txid;
  int64_t timestamp_ms = 0;  // since 1970
  Checksum pre_apply_checksum;
  uint64_t wal_offset = 0;  // of the source WAL segment, 0 if none
  uint64_t wal_bytes = 0;
  uint32_t wal_salt1 = 0;
  uint32_t wal_salt2 = 0;
  uint64_t node_id = 0;

  // A file holds every page, and nothing before it is needed, exactly when it starts at TXID 1.
  bool IsSnapshot() const { return min_txid == Txid(1); }
  // The largest page number a snapshot of this size holds: `commit`, unless that is the lock page. 0 if there is none.
  Pgno LastPage() const { return Pgno(commit != 0 && Pgno(commit) == LockPage(page_size) ? commit - 1 : commit); }
  bool operator==(const Header&) const = default;
};

struct Trailer {
  Checksum post_apply_checksum;  // 0 if not tracked
  uint64_t file_checksum = 0;
  bool operator==(const Trailer&) const = default;
};

// All rules of the format (FORMAT.md), and that `commit` is a size SQLite can have. Errors: kCorrupt, naming the rule.
Status Validate(const Header& header);
// The rules that tie the post-apply checksum to the header. A database of no pages can only be told by its checksum, so
// commit 0 with no_checksum is an error. Errors: kCorrupt. The file checksum is not looked at.
Status Validate(const Header& header, const Trailer& trailer);

std::string EncodeHeader(const Header& header);
void StoreHeader(std::span<std::byte, kHeaderBytes> out, const Header& header);
// Wants exactly kHeaderBytes; reserved bytes may hold anything.
Result<Header> DecodeHeader(Bytes bytes);

// "0000000000000001-0000000000000003.ltx"
std::string FileName(Txid min_txid, Txid max_txid);

}  // namespace runnel::ltx
