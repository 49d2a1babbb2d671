// For each page of one database: its checksum, and the TXID that last changed it. 16 bytes a page in a memory-mapped
// file, so that kill -9 loses nothing. It gives pre- and post-apply checksums in O(changed pages), and the pages
// changed since any TXID it still knows (delta resync).
//
// Invariants:
//   I1  After SetPosition, the XOR of all entries is the position's checksum (Verify() proves it; a crash between Set
//       and SetPosition breaks it until the same commit has been applied again, which is idempotent).
//   I2  Set stores the TXID before the checksum, so whatever a crash leaves, "entry.txid > T or entry.checksum differs
//       from the image" is true for every page that changed after T.
//   I3  Pages beyond page_count keep an entry: the TXID of the commit that cut them, checksum 0.
//   I4  Position and page count change together: a kill leaves both old or both new.
//   I5  The lock page has no entry: setting it does nothing.
// The file is preallocated as it grows: a full disk is an error from Reserve, never a SIGBUS.
//
// File (host byte order; the magic tells a foreign one):
//   0     8  magic            24   8  page bytes           64  64  owner
//   8     8  version          32   8  active slot, 0 or 1  128  2 x 64  slots
//   4096     entries: txid u64, checksum u64; page 1 first, up to the end of the file
// A slot holds txid, checksum, page count and the CRC of these 24 bytes.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ltx/base/bytes.h"
#include "ltx/base/result.h"
#include "ltx/format/types.h"

namespace runnel::ltx {

struct PageEntry {
  Checksum checksum;  // 0: not a page of the database (or never seen)
  Txid txid;
};

// Owned by one thread, in one process: two tables on one file destroy each other's sums.
class PageTable {
  struct Impl;

 public:
  explicit PageTable(std::unique_ptr<Impl> impl);  // for Open and Create
  // 64 bytes that belong to the owner of the table (lineage, identity of the file, ...), stored in the table's header.
  static constexpr size_t kOwnerBytes = 64;

  // Errors: kNotFound when there is none, kCorrupt when it is damaged, of another version or byte order (the caller
  // makes a new one with Create), kExhausted, kIo. A table whose entries do not fit its position is opened: ask
  // Verify().
  static Result<std::unique_ptr<PageTable>> Open(const std::string& path);
  // A new, empty table in place of whatever is there. A crash leaves the old one or the new one.
  static Result<std::unique_ptr<PageTable>> Create(const std::string& path, PageSize page_size);
  ~PageTable();
  PageTable(const PageTable&) = delete;
  PageTable& operator=(const PageTable&) = delete;

  PageSize page_size() const;
  uint32_t page_count() const;  // of the database at position()
  Position position() const;

  PageEntry Get(Pgno pgno) const;  // {0, 0} for pages never seen

  // Makes room for pages up to `pgno`. Call before Set. Errors: kExhausted, kIo; the table stays as it is.
  Status Reserve(Pgno pgno);
  void Set(Pgno pgno, Checksum checksum, Txid txid);  // REQUIRES: reserved; pgno > 0
  // Pages beyond `page_count` leave the database at `txid`: those that are not gone yet get that TXID and
  // checksum 0.
  void Truncate(uint32_t page_count, Txid txid);
  // REQUIRES: page_count reserved.
  void SetPosition(const Position& position, uint32_t page_count);

  // XOR of all entries up to page_count().
  Checksum Sum() const;
  bool Verify() const { return Sum() == position().checksum; }

  // Valid as long as the table is. What a crash leaves of a half-written owner is the owner's to detect.
  MutableBytes owner();
  // DURABLE: all entries, the position and the owner, against power loss too.
  Status Sync();

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::ltx
