// Brings a replica to the newest position of the log whatever its image is now (fork, foreign write, unknown after a
// power cut, a new lineage, left behind by a log that was trimmed), as ONE visible commit that holds only the pages
// that differ: readers go from the last image they saw to an exact one, never through an old snapshot.
//
// Two readings of the history, which lies in the log, or in the archive and then in the log: the first computes every
// page's checksum at the head (a page table in a temporary file), the second fetches the pages that differ, in rounds
// of bounded memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <stop_token>
#include <string>

#include "bus/bus.h"
#include "bus/envelope.h"
#include "ltx/base/result.h"
#include "ltx/format/decoder.h"
#include "ltx/format/page_table.h"
#include "subscriber/archive_source.h"
#include "subscriber/log_walk.h"
#include "subscriber/replica/replica.h"

namespace runnel::subscriber {

struct HealReport {
  bus::Lineage lineage;
  bus::Epoch epoch;
  Position position;
  uint64_t pages = 0;  // that differed
};

class Healer {
 public:
  // `scratch`: path of a temporary file beside the replica. `archive`: asked when the log alone does not help, for the
  // commits that the log has not got any more; may be null.
  Healer(bus::Log& log, replica::Replica& replica, std::string scratch, ArchiveSource* archive = nullptr)
      : log_(log), replica_(replica), scratch_(std::move(scratch)), archive_(archive) {}

  // Errors: kNotFound (log and archive hold no image, or do not lead from it to the log's end), the bus's, the store's,
  // the replica's.
  Result<HealReport> ToHead(std::stop_token stop);

  // ToHead failed because the log's database has pages of another size now: only a new image can follow it.
  bool other_page_size() const { return other_page_size_; }

  // Fetches these pages as of the replica's position and repairs them; returns how many were repaired.
  Result<uint64_t> RepairPages(const std::set<Pgno>& damaged, std::stop_token stop);

 private:
  // `checksum`: of the database behind it, for archived files, which do not say so themselves.
  using Visitor = std::function<Result<bool>(const WalkedLtx&, std::optional<Checksum> checksum)>;
  // Visits the history from an image on to the log's end, the same way each time.
  using History = std::function<Status(const Visitor&)>;

  Result<History> FromLog(std::stop_token stop);
  Result<History> FromArchive(Txid from, Txid upto, std::stop_token stop);
  Result<HealReport> HealBy(const History& history, bool on_from_here);
  Status StartFromReplica();
  Status Take(const WalkedLtx& ltx, std::optional<Checksum> checksum);
  Status FetchDiffering(const History& history);

  bus::Log& log_;
  replica::Replica& replica_;
  const std::string scratch_;
  ArchiveSource* const archive_;
  std::unique_ptr<ltx::PageTable> table_;  // of the head
  HealReport report_;
  bool other_page_size_ = false;
};

}  // namespace runnel::subscriber
