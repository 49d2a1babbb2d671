// What an archive holds, from its manifest or, where there is none (Litestream writes none) or it is damaged, from a
// listing; and what of it leads to a TXID, as pieces for the assembler.
//
// THREAD: one. LIFETIME: the store must outlive the catalog.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/base/time.h"
#include "ltx/format/types.h"
#include "subscriber/archive/layout.h"
#include "subscriber/archive/store/object_store.h"
#include "subscriber/restore/part.h"
#include "subscriber/restore/plan.h"

namespace runnel::restore {

struct CatalogObject {
  archive::ObjectName name;
  std::string key;
  uint64_t bytes = 0;
  std::optional<Checksum> checksum;  // of the database at max_txid, if noted
  std::optional<WallTime> time;      // of the commit max_txid; Litestream: when it wrote the object
};

// What is known of the log an archive was made from.
struct LogOrigin {
  bus::Lineage lineage;
  PageSize page_size;
  std::string database;
};

// What to read, oldest first as planned and newest first as read.
struct ArchivePlan {
  Txid target;
  std::vector<PlanStep> steps;
  std::vector<Piece> pieces;
  uint64_t bytes = 0;  // of all pieces
};

class Catalog {
 public:
  // Errors: the store's; kNotFound when there is nothing of an archive.
  static Result<Catalog> Load(store::ObjectStore& store, const archive::Layout& layout);

  const std::vector<CatalogObject>& objects() const { return objects_; }
  const std::vector<PlanObject>& plan_objects() const { return plan_objects_; }
  const std::optional<LogOrigin>& origin() const { return origin_; }

  // The newest TXID that can be reached. Errors: those of restore::NewestReachable.
  Result<Txid> Newest() const;
  // The newest TXID that can be reached and whose commit was made at or before this moment. Reads the times of objects
  // that a listing does not tell, and the index of one segment. Errors: kNotFound; the store's.
  Result<Txid> NewestAt(WallTime time);

  // Errors: kNotFound, naming the TXIDs around it that can be reached; the store's.
  // `block_bytes`: pieces of several files are no longer than this.
  // `from` 0: from nothing; else what leads on from an image of that TXID.
  Result<ArchivePlan> Plan(Txid target, uint64_t block_bytes, Txid from = Txid()) const;

 private:
  explicit Catalog(store::ObjectStore& store) : store_(&store) {}
  Status ListObjects(const archive::Layout& layout);
  Status LoadManifest(const archive::Layout& layout);
  void Index();
  Result<WallTime> TimeOf(CatalogObject& object);
  Result<std::optional<Txid>> NewestInLevel(std::vector<size_t> objects, WallTime time);
  Result<std::optional<Txid>> NewestInSegments(std::vector<size_t> objects, WallTime time);

  store::ObjectStore* store_;
  std::vector<CatalogObject> objects_;
  std::vector<PlanObject> plan_objects_;  // the same, for the plan
  std::optional<LogOrigin> origin_;
};

}  // namespace runnel::restore
