// For each page of one database: its checksum, and the TXID that last changed it. 16 bytes a page in a memory-mapped file,
// so that kill -9 loses nothing. It gives pre- and post-apply checksums in O(changed pages), and the pages changed since any
// TXID it still knows (delta resync).
//
// Invariants:
//   I1  After SetPosition, the XOR of all entries is the position's checksum (Verify() proves it; a crash between Set and
//       SetPosition breaks it until the same commit has been applied again, which is idempotent).
//   I2  Set stores the TXID before the checksum, so whatever a crash leaves, "entry.txid > T or entry.checksum differs from
//       the image" is true for every page that changed after T.
//   I3  Pages beyond page_count keep an entry: the TXID of the commit that cut them, checksum 0.
// The file is preallocated as it grows: a full disk is an error from Reserve, never a SIGBUS.
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

// Not thread-safe.
class PageTable {
 public:
  // 64 bytes that belong to the owner of the table (lineage, identity of the file, ...), stored in the table's header.
  static constexpr size_t kOwnerBytes = 64;

  // Opens or creates. Errors: kCorrupt when a table is there but damaged, of another version or page size (the caller makes a new
  // one with Create), kExhausted, kIo.
  static Result<std::unique_ptr<PageTable>> Open(const std::string& path);
  // A new, empty table in place of whatever is there.
  static Result<std::unique_ptr<PageTable>> Create(const std::string& path, PageSize page_size);
  ~PageTable();

  PageSize page_size() const;
  uint32_t page_count() const;  // of the database at position()
  Position position() const;

  PageEntry Get(Pgno pgno) const;  // {0, 0} for pages never seen

  // Makes room for pages up to `pgno`. Call before Set.
  Status Reserve(Pgno pgno);
  void Set(Pgno pgno, Checksum checksum, Txid txid);  // REQUIRES: reserved
  // Pages beyond `page_count` leave the database at `txid`.
  void Truncate(uint32_t page_count, Txid txid);
  void SetPosition(const Position& position, uint32_t page_count);

  // XOR of all entries up to page_count().
  Checksum Sum() const;
  bool Verify() const { return Sum() == position().checksum; }

  MutableBytes owner();
  // msync. DURABLE: all entries, against power loss too.
  Status Sync();

 private:
  PageTable();
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace runnel::ltx
