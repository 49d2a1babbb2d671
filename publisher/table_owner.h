// The 64 bytes of the page table's header that are the publisher's: whose history this is, and where in the WAL the
// table's position lies. Bytes are host order; the table never leaves its machine.
#pragma once

#include <array>
#include <cstdint>

#include "bus/envelope.h"
#include "ltx/format/page_table.h"
#include "publisher/capture_types.h"

namespace runnel::publisher {

struct TableOwner {
  bus::Lineage lineage;
  uint64_t epoch = 0;           // of the last leadership
  uint64_t txid = 0;            // to which the fields below belong; another TXID than the table's: do not use them
  WalPosition wal;              // behind that commit
  uint64_t inode = 0;           // of the database file: tells a replaced file
  uint32_t change_counter = 0;  // of page 1 when it was last seen: tells an older copy
};

TableOwner LoadOwner(ltx::PageTable& table);
void StoreOwner(ltx::PageTable& table, const TableOwner& owner);

}  // namespace runnel::publisher
