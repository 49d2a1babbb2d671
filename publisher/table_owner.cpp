#include "publisher/table_owner.h"

#include <cstring>

namespace runnel::publisher {
namespace {

// Layout: lineage 16, epoch 8, txid 8, salts 8, frame 4, checksum 8, inode 8, change counter 4.
struct Packed {
  uint8_t lineage[16];
  uint64_t epoch;
  uint64_t txid;
  uint32_t salt[2];
  uint32_t checksum[2];
  uint64_t inode;
  uint32_t frame;
  uint32_t change_counter;
};
static_assert(sizeof(Packed) == ltx::PageTable::kOwnerBytes);

}  // namespace

TableOwner LoadOwner(ltx::PageTable& table) {
  Packed packed;
  std::memcpy(&packed, table.owner().data(), sizeof packed);
  TableOwner owner;
  std::memcpy(owner.lineage.bytes.data(), packed.lineage, sizeof packed.lineage);
  owner.epoch = packed.epoch;
  owner.txid = packed.txid;
  std::memcpy(owner.wal.salt, packed.salt, sizeof packed.salt);
  std::memcpy(owner.wal.checksum, packed.checksum, sizeof packed.checksum);
  owner.wal.frame = packed.frame;
  owner.inode = packed.inode;
  owner.change_counter = packed.change_counter;
  return owner;
}

void StoreOwner(ltx::PageTable& table, const TableOwner& owner) {
  Packed packed;
  std::memcpy(packed.lineage, owner.lineage.bytes.data(), sizeof packed.lineage);
  packed.epoch = owner.epoch;
  packed.txid = owner.txid;
  std::memcpy(packed.salt, owner.wal.salt, sizeof packed.salt);
  std::memcpy(packed.checksum, owner.wal.checksum, sizeof packed.checksum);
  packed.frame = owner.wal.frame;
  packed.inode = owner.inode;
  packed.change_counter = owner.change_counter;
  std::memcpy(table.owner().data(), &packed, sizeof packed);
}

}  // namespace runnel::publisher
